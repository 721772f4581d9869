"""Shipped fakes for tests: the platform, the agent, and what must be delayed, cut or reordered."""
