"""Tombstones: what must be remembered of a thread or a run that is not there (any more)."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from antiphon.agent.model import ThreadId
from antiphon.agent.store import schema
from antiphon.agent.store.threads import key, of


def bury(connection: Connection, thread: ThreadId, run_id: str, kind: str, now_ms: int) -> None:
    """Leaves a tombstone for the run (`run_id` empty: for the thread). The first one stays, but
    `withdrawn` outdoes `cancelled`."""
    row = schema.tombstones
    found = find(connection, thread, run_id)
    if found is None:
        connection.execute(
            insert(row).values(**key(thread), run_id=run_id, kind=kind, at_ms=now_ms)
        )
    elif found != kind and kind == "withdrawn":
        connection.execute(
            update(row).where(of(row, thread, row.c.run_id == run_id)).values(kind=kind)
        )


def find(connection: Connection, thread: ThreadId, run_id: str = "") -> str | None:
    """The kind of the tombstone of the run (of the thread), if there is one."""
    row = schema.tombstones
    found: str | None = connection.execute(
        select(row.c.kind).where(of(row, thread, row.c.run_id == run_id))
    ).scalar_one_or_none()
    return found


def any_of(connection: Connection, thread: ThreadId) -> bool:
    """Whether there is a tombstone of the thread or of a run of it."""
    row = schema.tombstones
    found = select(row.c.kind).where(of(row, thread)).limit(1)
    return connection.execute(found).first() is not None
