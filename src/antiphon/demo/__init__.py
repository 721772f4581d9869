"""The demo: a homeserver, the agent, the adapter and a person's terminal, on this machine alone."""
