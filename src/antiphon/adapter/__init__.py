"""The surfaces that people touch; none of them imports another, the agent or the master."""
