"""Whether the database answers."""

from __future__ import annotations

from sqlalchemy import Connection, select

from antiphon.records.schema import counters


def answers(connection: Connection) -> bool:
    """True, where it does. Raises what the database raises."""
    connection.execute(select(counters.c.value).limit(1)).first()
    return True
