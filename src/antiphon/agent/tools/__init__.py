"""Tools that the agent runs for a model, each declared once."""
