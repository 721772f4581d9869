"""Events: the frames of a thread as they were sent, by seq."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.engine import Row

from antiphon.agent.model import Frame, ThreadId
from antiphon.agent.store import schema, threads
from antiphon.agent.store.threads import key, of

_columns = (
    schema.events.c.seq,
    schema.events.c.run_id,
    schema.events.c.attempt,
    schema.events.c.type,
    schema.events.c.body,
)


def _frame(row: Row[Any, Any, Any, Any, Any]) -> Frame:
    return Frame(row.seq, row.run_id, row.attempt, row.type, row.body.encode())


def append(connection: Connection, thread: ThreadId, frames: list[Frame]) -> None:
    """Stores `frames`, whose seqs follow each other and the thread's last one.

    Raises LeaseLostError when they do not follow: someone else has written events."""
    if not frames:
        return
    threads.advance(connection, thread, frames[0].seq - 1, frames[-1].seq)
    base = key(thread)
    connection.execute(
        insert(schema.events),
        [
            {
                **base,
                "seq": one.seq,
                "run_id": one.run_id,
                "attempt": one.attempt,
                "type": one.type,
                "body": one.body.decode(),
            }
            for one in frames
        ],
    )


def at(connection: Connection, thread: ThreadId, seq: int) -> Frame | None:
    """The event with this seq, or None: not there yet, pruned or erased."""
    row = connection.execute(
        select(*_columns).where(of(schema.events, thread, schema.events.c.seq == seq))
    ).one_or_none()
    return _frame(row) if row else None


def after(connection: Connection, thread: ThreadId, seq: int, limit: int) -> list[Frame]:
    """Up to `limit` events after `seq` that follow it and each other without a gap."""
    rows = connection.execute(
        select(*_columns)
        .where(of(schema.events, thread, schema.events.c.seq > seq))
        .order_by(schema.events.c.seq)
        .limit(limit)
    )
    found: list[Frame] = []
    for row in rows:
        if row.seq != seq + 1 + len(found):
            break
        found.append(_frame(row))
    return found


def first_of(
    connection: Connection, thread: ThreadId, run_id: str, after_attempt: int
) -> int | None:
    """The seq of the run's first event in an attempt above `after_attempt`, or None."""
    row = schema.events.c
    found: int | None = connection.execute(
        select(func.min(row.seq)).where(
            of(schema.events, thread, row.run_id == run_id, row.attempt > after_attempt)
        )
    ).scalar_one()
    return found


def prune(connection: Connection, thread: ThreadId, keep: set[str]) -> None:
    """Deletes the events of all runs but those in `keep`; the history in the steps stays."""
    connection.execute(
        delete(schema.events).where(of(schema.events, thread, schema.events.c.run_id.not_in(keep)))
    )


def erase(
    connection: Connection, thread: ThreadId, run_ids: Sequence[str], but_seq: int | None
) -> None:
    """Deletes the runs' events, except the one with `but_seq`."""
    row = schema.events.c
    where = of(schema.events, thread, row.run_id.in_(run_ids))
    if but_seq is not None:
        where = where & (row.seq != but_seq)
    connection.execute(delete(schema.events).where(where))
