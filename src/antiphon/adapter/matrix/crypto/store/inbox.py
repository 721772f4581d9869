"""To-device messages for others than the machine (verification, secrets, key requests), sealed,
until they say that they are done with them: a kill in between loses none."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import pieces, put
from antiphon.adapter.matrix.crypto.store.schema import inbox

KEPT = 2_000
"""How many wait at most: anybody may send as many as they like, and the newest are kept."""


def add(connection: Connection, message_id: str, rank: int, sealed: str) -> None:
    """One more waits."""
    put(connection, inbox, [{"message_id": message_id, "rank": rank, "sealed": sealed}])
    oldest = connection.execute(
        select(inbox.c.rank).order_by(inbox.c.rank.desc()).offset(KEPT).limit(1)
    ).scalar_one_or_none()
    if oldest is not None:
        connection.execute(delete(inbox).where(inbox.c.rank <= oldest))


def waiting(connection: Connection) -> list[tuple[str, str]]:
    """Ids and sealed messages, in the order in which they came."""
    statement = select(inbox.c.message_id, inbox.c.sealed).order_by(inbox.c.rank)
    return [(row[0], row[1]) for row in connection.execute(statement)]


def done(connection: Connection, message_ids: Iterable[str]) -> None:
    """These are dealt with."""
    for piece in pieces(message_ids):
        connection.execute(delete(inbox).where(inbox.c.message_id.in_(piece)))
