"""Whether the database answers at all."""

from __future__ import annotations

from sqlalchemy import Connection, text


def answers(connection: Connection) -> None:
    """Asks the least there is; the database's failure comes out."""
    connection.execute(text("SELECT 1"))
