"""Why somebody did not give us a key, in their own words' code."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import withheld

KEPT = 10_000
"""How many are kept: anybody may send as many as they like."""


def add(
    connection: Connection, room_id: str, session_id: str, user_id: str, code: str, rank: int
) -> None:
    """`user_id` says why it gives no key of this session; the oldest beyond KEPT are forgotten."""
    row = {"room_id": room_id, "session_id": session_id, "user_id": user_id}
    put(connection, withheld, [{**row, "code": code, "rank": rank}])
    oldest = connection.execute(
        select(withheld.c.rank).order_by(withheld.c.rank.desc()).offset(KEPT - 1).limit(1)
    ).scalar_one_or_none()
    if oldest is not None:
        connection.execute(delete(withheld).where(withheld.c.rank < oldest))


def code(connection: Connection, room_id: str, session_id: str, user_id: str) -> str | None:
    """What `user_id` said of this session."""
    statement = select(withheld.c.code).where(
        withheld.c.room_id == room_id,
        withheld.c.session_id == session_id,
        withheld.c.user_id == user_id,
    )
    return connection.execute(statement).scalar_one_or_none()
