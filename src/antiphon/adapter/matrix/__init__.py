"""The Matrix adapter: rooms on one side, the sdk on the other, a journal in between."""
