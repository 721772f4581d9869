"""Runs: created once, fenced by attempt while they run, ended once by compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import Row

from antiphon.agent.model import FrozenSettings, RunRow, RunStatus, ThreadId
from antiphon.agent.store import schema
from antiphon.agent.store.threads import key, of
from antiphon.agent_api.messages import InputPart, RunFailure, Usage
from antiphon.errors import LeaseLostError

_inputs = msgspec.json.Decoder(tuple[InputPart, ...])
_settings = msgspec.json.Decoder(FrozenSettings)
_failure = msgspec.json.Decoder(RunFailure)
_usage = msgspec.json.Decoder(Usage)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _run(row: Row[Any]) -> RunRow:
    return RunRow(
        thread=ThreadId(row.surface, row.thread_id),
        run_id=row.run_id,
        ordinal=row.ordinal,
        status=row.status,
        attempt=row.attempt,
        failed_attempts=row.failed_attempts,
        spent_ms=row.spent_ms,
        body_hash=row.body_hash,
        input=_inputs.decode(row.input),
        settings=_settings.decode(row.settings) if row.settings else None,
        error=_failure.decode(row.error) if row.error else None,
        created_ms=row.created_ms,
        usage=_usage.decode(row.usage) if row.usage else None,
    )


def create(connection: Connection, run: RunRow) -> None:
    """Stores a new run."""
    connection.execute(
        insert(schema.runs).values(
            **key(run.thread),
            run_id=run.run_id,
            ordinal=run.ordinal,
            status=run.status,
            attempt=run.attempt,
            failed_attempts=run.failed_attempts,
            parked=False,
            spent_ms=run.spent_ms,
            body_hash=run.body_hash,
            input=_text(run.input),
            settings=_text(run.settings) if run.settings else "",
            error=_text(run.error) if run.error else None,
            created_ms=run.created_ms,
            usage=_text(run.usage) if run.usage else None,
        )
    )


def get(connection: Connection, thread: ThreadId, run_id: str) -> RunRow | None:
    """The run, or None."""
    row = connection.execute(
        select(schema.runs).where(of(schema.runs, thread, schema.runs.c.run_id == run_id))
    ).one_or_none()
    return _run(row) if row else None


def latest(connection: Connection, thread: ThreadId) -> RunRow | None:
    """The thread's newest run, or None."""
    row = connection.execute(
        select(schema.runs)
        .where(of(schema.runs, thread))
        .order_by(schema.runs.c.ordinal.desc())
        .limit(1)
    ).one_or_none()
    return _run(row) if row else None


def running_of(connection: Connection, thread: ThreadId) -> str | None:
    """The id of the thread's running run, or None."""
    found: str | None = connection.execute(
        select(schema.runs.c.run_id).where(
            of(schema.runs, thread, schema.runs.c.status == "running")
        )
    ).scalar_one_or_none()
    return found


class Left(msgspec.Struct, frozen=True):
    """A run that an earlier process left; `failed_attempts` has the crash that left it."""

    thread: ThreadId
    run_id: str
    failed_attempts: int


def settle(connection: Connection) -> list[Left]:
    """Every run that is not ended, oldest first. Those that were being worked on when their
    process died have one more failed attempt now, and are parked: a crash before they are begun
    again is not theirs."""
    row = schema.runs.c
    rows = connection.execute(
        select(row.surface, row.thread_id, row.run_id, row.failed_attempts, row.parked)
        .where(row.status == "running")
        .order_by(row.created_ms, row.ordinal, row.surface, row.thread_id)
        .with_for_update()
    ).all()
    left: list[Left] = []
    for surface, thread_id, run_id, failed, parked in rows:
        thread = ThreadId(surface, thread_id)
        left.append(Left(thread, run_id, failed + (0 if parked else 1)))
        if not parked:
            connection.execute(
                update(schema.runs)
                .where(of(schema.runs, thread, row.run_id == run_id))
                .values(failed_attempts=failed + 1, parked=True)
            )
    return left


def fence(
    connection: Connection, thread: ThreadId, run_id: str, attempt: int, usage: Usage
) -> None:
    """Claims the run for this transaction on behalf of `attempt`, and notes what it has used.

    Raises LeaseLostError when the run has ended or a newer attempt has it."""
    row = schema.runs
    claimed = connection.execute(
        update(row)
        .where(
            of(row, thread, row.c.run_id == run_id),
            row.c.attempt == attempt,
            row.c.status == "running",
        )
        .values(spent_ms=round(usage.seconds * 1000), usage=_text(usage))
    )
    if claimed.rowcount != 1:
        raise LeaseLostError("Another attempt has this run, or it has ended.")


def check(connection: Connection, thread: ThreadId, run_id: str, attempt: int) -> None:
    """Raises LeaseLostError unless `attempt` has the run, now."""
    row = schema.runs
    found = connection.execute(
        select(row.c.attempt).where(
            of(row, thread, row.c.run_id == run_id), row.c.status == "running"
        )
    ).scalar_one_or_none()
    if found != attempt:
        raise LeaseLostError("Another attempt has this run, or it has ended.")


def end(
    connection: Connection,
    thread: ThreadId,
    run_id: str,
    status: RunStatus,
    error: RunFailure | None,
    now_ms: int,
    usage: Usage,
) -> None:
    """Ends the run; once only. `usage` is what its end says. Raises LeaseLostError when it is not
    running."""
    row = schema.runs
    ended = connection.execute(
        update(row)
        .where(of(row, thread, row.c.run_id == run_id), row.c.status == "running")
        .values(
            status=status,
            error=_text(error) if error else None,
            ended_ms=now_ms,
            parked=False,
            usage=_text(usage),
        )
    )
    if ended.rowcount != 1:
        raise LeaseLostError("The run has ended already.")


def begin_attempt(connection: Connection, thread: ThreadId, run_id: str) -> RunRow | None:
    """Takes a running run over as a new attempt; None when it has ended. (Whether the one before
    has failed is decided at the start of a process: `settle`.)"""
    row = schema.runs
    where = of(row, thread, row.c.run_id == run_id)
    taken = connection.execute(
        select(row.c.attempt).where(where, row.c.status == "running").with_for_update()
    ).scalar_one_or_none()
    if taken is None:
        return None
    connection.execute(update(row).where(where).values(attempt=taken + 1, parked=False))
    return get(connection, thread, run_id)


def park(connection: Connection, thread: ThreadId, run_id: str) -> None:
    """Notes that no process works on the run: its service stops in order."""
    row = schema.runs
    connection.execute(
        update(row)
        .where(of(row, thread, row.c.run_id == run_id), row.c.status == "running")
        .values(parked=True)
    )


def erase(connection: Connection, thread: ThreadId, run_ids: Sequence[str]) -> None:
    """Erases what runs carried in and out; their ids stay, as withdrawn, and how much they have
    used. (Their events are erased by `antiphon.agent.store.events.erase`.)"""
    row = schema.runs
    connection.execute(
        update(row)
        .where(of(row, thread, row.c.run_id.in_(run_ids)))
        .values(status="withdrawn", body_hash="", input="[]", settings="", error=None)
    )
    for table in (schema.steps, schema.calls, schema.notes):
        connection.execute(delete(table).where(of(table, thread, table.c.run_id.in_(run_ids))))
