"""What is owed to the agent (cancel, withdraw, forget, erase): durable until it has confirmed."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, insert, select

from antiphon.adapter.matrix.journal.schema import debt
from antiphon.core.ids import RunId, ThreadId

PERSON = "person"
"""The kind of a debt to whoever keeps users: they asked to be forgotten. Its `thread_id` is the id
of that request, its `run_id` who they are."""


class Debt(msgspec.Struct, frozen=True):
    """One thing that the agent must still be told. `run_id` is empty for `forget`, and for `erase`
    the author whose words must go."""

    kind: str
    thread_id: ThreadId
    run_id: RunId


def add(connection: Connection, new: Debt, now_ms: int) -> None:
    """Records a debt; once is enough."""
    if new not in pending(connection, new.thread_id):
        connection.execute(insert(debt).values(**msgspec.structs.asdict(new), created_ms=now_ms))


def paid(connection: Connection, done: Debt) -> None:
    """The agent has confirmed it."""
    connection.execute(
        delete(debt).where(
            debt.c.kind == done.kind,
            debt.c.thread_id == done.thread_id,
            debt.c.run_id == done.run_id,
        )
    )


def pending(connection: Connection, thread_id: ThreadId | None = None) -> tuple[Debt, ...]:
    """All debts, or those of one thread, oldest first."""
    query = select(debt).order_by(debt.c.created_ms)
    if thread_id is not None:
        query = query.where(debt.c.thread_id == thread_id)
    return tuple(
        Debt(row.kind, ThreadId(row.thread_id), RunId(row.run_id))
        for row in connection.execute(query)
    )
