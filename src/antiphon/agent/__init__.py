"""The agent service: threads, runs, tools, models; it knows nothing of Matrix."""
