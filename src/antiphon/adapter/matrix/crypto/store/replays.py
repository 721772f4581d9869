"""Which event used which message of which session: one message is one event, for ever.

A session of which nothing was read for CLOSED_AFTER_MS is closed: its rows become one, that says
which of its messages were used, no longer by which event. So what is kept is bounded by the number
of sessions, a message that was used is never taken again, and one that never came still is.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, delete, func, insert, select, update

from antiphon.adapter.matrix.crypto import index_ranges
from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupName
from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import replay, replay_closed

CLOSED_AFTER_MS = 30 * 24 * 3_600_000
"""Far longer than any event is read again by the same adapter (a batch that was not committed, a
late key's week): such an event must be known as the one that it was."""


def used_by(
    connection: Connection, name: GroupName, index: int, event_id: str, now_ms: int
) -> str | None:
    """The event that used message `index` of a session: the first that asked, which may be this;
    None where it was used so long ago that nobody knows by which."""
    session = _session(name)
    statement = select(replay.c.event_id).where(
        replay.c.session == session, replay.c.message_index == index
    )
    found = connection.execute(statement).scalar_one_or_none()
    if found is not None:
        return str(found)
    if index_ranges.contains(_closed(connection, session), index):
        return None
    connection.execute(
        insert(replay).values(
            session=session, message_index=index, event_id=event_id, used_ms=now_ms
        )
    )
    return event_id


def close(connection: Connection, now_ms: int, limit: int) -> int:
    """Closes at most `limit` sessions that were not read from for long; how many."""
    # Rows of before there was a time are as old as this moment, to be on the safe side.
    connection.execute(update(replay).where(replay.c.used_ms.is_(None)).values(used_ms=now_ms))
    old = (
        select(replay.c.session)
        .group_by(replay.c.session)
        .having(func.max(replay.c.used_ms) < now_ms - CLOSED_AFTER_MS)
        .limit(limit)
    )
    sessions = list(connection.execute(old).scalars())
    for session in sessions:
        indexes = select(replay.c.message_index).where(replay.c.session == session)
        used = index_ranges.added(
            _closed(connection, session), connection.execute(indexes).scalars()
        )
        put(connection, replay_closed, [{"session": session, "used": used}])
        connection.execute(delete(replay).where(replay.c.session == session))
    return len(sessions)


def _closed(connection: Connection, session: str) -> str:
    statement = select(replay_closed.c.used).where(replay_closed.c.session == session)
    return connection.execute(statement).scalar_one_or_none() or ""


def _session(name: GroupName) -> str:
    text = "\x00".join((name.room_id, name.session_id, name.sender_key))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
