"""The journal: the one owner of every durable fact of the Matrix adapter."""
