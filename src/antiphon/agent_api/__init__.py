"""The wire protocol of `/agent_ws/`: typed messages, a sans-I/O protocol core, a client."""
