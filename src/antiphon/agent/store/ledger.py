"""The tool ledger: each call is recorded with its step, before its effect and after it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from antiphon.agent.model import CallOutcome, CallRow, ThreadId
from antiphon.agent.store import schema
from antiphon.agent.store.threads import key, of


def row_to_call(row: Row[Any]) -> CallRow:
    """A row of `calls` as a value."""
    return CallRow(
        call_id=row.call_id,
        run_id=row.run_id,
        step=row.step,
        position=row.position,
        name=row.name,
        args=row.args,
        state=row.state,
        outcome=row.outcome,
        content=row.content,
        truncated=bool(row.truncated),
    )


def ask(connection: Connection, thread: ThreadId, calls: tuple[CallRow, ...]) -> None:
    """Records calls that a step asked for."""
    if calls:
        connection.execute(
            insert(schema.calls),
            [
                {
                    **key(thread),
                    "call_id": call.call_id,
                    "run_id": call.run_id,
                    "step": call.step,
                    "position": call.position,
                    "name": call.name,
                    "args": call.args,
                    "state": call.state,
                    "outcome": call.outcome,
                    "content": call.content,
                    "truncated": call.truncated,
                }
                for call in calls
            ],
        )


def begin(connection: Connection, thread: ThreadId, call_id: str) -> None:
    """Records the intent: from here on the call may have acted."""
    row = schema.calls
    connection.execute(
        update(row)
        .where(of(row, thread, row.c.call_id == call_id, row.c.state == "asked"))
        .values(state="begun")
    )


def finish(
    connection: Connection,
    thread: ThreadId,
    call_id: str,
    outcome: CallOutcome,
    content: str,
    truncated: bool,
) -> None:
    """Records what came of the call; a recorded result is never replaced."""
    row = schema.calls
    connection.execute(
        update(row)
        .where(of(row, thread, row.c.call_id == call_id, row.c.state != "done"))
        .values(state="done", outcome=outcome, content=content, truncated=truncated)
    )


def of_run(connection: Connection, thread: ThreadId, run_id: str) -> list[CallRow]:
    """The calls of a run, in the order in which they were asked for."""
    row = schema.calls.c
    rows = connection.execute(
        select(schema.calls)
        .where(of(schema.calls, thread, row.run_id == run_id))
        .order_by(row.step, row.position)
    )
    return [row_to_call(one) for one in rows]


def known_ids(connection: Connection, thread: ThreadId, ids: list[str]) -> set[str]:
    """Those of `ids` that the thread's ledger has already."""
    row = schema.calls.c
    rows = connection.execute(
        select(row.call_id).where(of(schema.calls, thread, row.call_id.in_(ids)))
    )
    return set(rows.scalars())
