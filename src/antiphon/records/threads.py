"""Statements of threads: which ids may be used, and which never again. Only ids; the memories are
at the agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, exists, or_, select

from antiphon.core.ids import ThreadId
from antiphon.records.rows import Mint, insert_new
from antiphon.records.schema import retired_threads, sessions


def unused(connection: Connection, mint: Mint) -> ThreadId:
    """A thread id that was never used here, retired ones included."""
    while True:
        thread_id = ThreadId(mint())
        if not is_used(connection, thread_id):
            return thread_id


def is_used(connection: Connection, thread_id: ThreadId) -> bool:
    """Whether a session has or had it."""
    return bool(
        connection.execute(
            select(
                or_(
                    exists().where(sessions.c.thread_id == thread_id),
                    exists().where(retired_threads.c.thread_id == thread_id),
                )
            )
        ).scalar_one()
    )


def mark_retired(connection: Connection, threads: Iterable[ThreadId], now_ms: int) -> None:
    """Never to be used again, in the sessions' place or without one."""
    for thread_id in threads:
        insert_new(connection, retired_threads, {"thread_id": thread_id, "retired_ms": now_ms})


def retired(column: Any) -> Any:
    """The condition that the thread in `column` was retired."""
    return exists().where(retired_threads.c.thread_id == column)


def is_retired(connection: Connection, thread_id: ThreadId) -> bool:
    """Whether the thread was retired."""
    statement = select(exists().where(retired_threads.c.thread_id == thread_id))
    return bool(connection.execute(statement).scalar_one())
