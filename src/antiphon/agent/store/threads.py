"""Threads: the row that hands out seq numbers and run ordinals, and what erasing one means."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    and_,
    cast,
    delete,
    func,
    select,
    update,
)

from antiphon.agent.model import ThreadId
from antiphon.agent.store import schema
from antiphon.errors import LeaseLostError


def of(table: Table, thread: ThreadId, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rows of `table` that belong to `thread` (and meet `more`)."""
    return and_(table.c.surface == thread.surface, table.c.thread_id == thread.thread_id, *more)


def key(thread: ThreadId) -> dict[str, Any]:
    """The key columns of `thread`, for an insert."""
    return {"surface": thread.surface, "thread_id": thread.thread_id}


def ensure(connection: Connection, thread: ThreadId, now_ms: int) -> None:
    """Makes the thread's row where it is missing, and locks the thread for this transaction."""
    lock(connection, thread)
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as upsert
    else:
        from sqlalchemy.dialects.sqlite import insert as upsert  # type: ignore[assignment]
    connection.execute(
        upsert(schema.threads)
        .values(**key(thread), last_seq=0, last_ordinal=0, created_ms=now_ms)
        .on_conflict_do_nothing()
    )


def lock(connection: Connection, thread: ThreadId) -> None:
    """Locks the thread, whether it has a row or not, until the end of this transaction. Whatever
    writes of a thread does this first, so that two never wait for each other.

    SQLite has one writer anyway; there this does nothing."""
    if connection.dialect.name == "postgresql":
        name = f"{thread.surface}\0{thread.thread_id}".encode()
        number = int.from_bytes(hashlib.sha256(name).digest()[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(cast(number, BigInteger))))


def exists(connection: Connection, thread: ThreadId) -> bool:
    """Whether the thread has a row."""
    return last_seq(connection, thread) is not None


def last_seq(connection: Connection, thread: ThreadId) -> int | None:
    """The seq of the thread's newest committed event (0: none yet); None: no such thread."""
    found: int | None = connection.execute(
        select(schema.threads.c.last_seq).where(of(schema.threads, thread))
    ).scalar_one_or_none()
    return found


def advance(connection: Connection, thread: ThreadId, before: int, after: int) -> None:
    """Moves the thread's seq from `before` to `after`.

    Raises LeaseLostError when it is not at `before`: someone else has written events."""
    moved = connection.execute(
        update(schema.threads)
        .where(of(schema.threads, thread, schema.threads.c.last_seq == before))
        .values(last_seq=after)
    )
    if moved.rowcount != 1:
        raise LeaseLostError("Another process has written events of this thread.")


def next_ordinal(connection: Connection, thread: ThreadId) -> int:
    """A number for a new run of the thread, above all before it."""
    row = schema.threads
    connection.execute(
        update(row).where(of(row, thread)).values(last_ordinal=row.c.last_ordinal + 1)
    )
    number: int = connection.execute(select(row.c.last_ordinal).where(of(row, thread))).scalar_one()
    return number


def pass_over(connection: Connection, thread: ThreadId, *, ordinal: int, seq: int) -> None:
    """The next run and the next event of the thread get numbers above these."""
    row = schema.threads
    connection.execute(
        update(row).where(of(row, thread)).values(last_ordinal=ordinal, last_seq=seq)
    )


def erase(connection: Connection, thread: ThreadId) -> None:
    """Deletes every row of the thread, tombstones of its runs included."""
    for table in schema.metadata.tables.values():
        connection.execute(delete(table).where(of(table, thread)))
