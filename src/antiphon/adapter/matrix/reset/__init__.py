"""The reset: forgetting on purpose, with a plan that is shown first."""
