"""A thread's memory as one value: read out of its rows, and written into a new thread."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from antiphon.agent.archive import (
    KIND,
    VERSION,
    Archive,
    PastCall,
    PastNote,
    PastRun,
    PastStep,
)
from antiphon.agent.model import FrozenSettings, ThreadId
from antiphon.agent.store import lifecycle, schema, threads, tombstones
from antiphon.agent.store.threads import key, of
from antiphon.agent_api.messages import ErrorCode, InputPart, RunFailure, Usage
from antiphon.errors import AgentProtocolError

ENDED = ("success", "cancelled", "error")

_inputs = msgspec.json.Decoder(tuple[InputPart, ...])
_settings = msgspec.json.Decoder(FrozenSettings)
_failure = msgspec.json.Decoder(RunFailure)
_usage = msgspec.json.Decoder(Usage)


def read(connection: Connection, thread: ThreadId) -> Archive | None:
    """What the thread remembers; None where no run of it has ended. Raises AgentProtocolError
    `thread_gone`."""
    threads.lock(connection, thread)  # one moment's truth, where reads are of several moments
    lifecycle.refuse_gone(connection, thread)
    row = schema.runs
    rows = connection.execute(
        select(row).where(of(row, thread, row.c.status.in_(ENDED))).order_by(row.c.ordinal)
    ).all()
    if not rows:
        return None
    steps = _steps(connection, thread)
    runs = tuple(
        PastRun(
            run_id=run.run_id,
            status=run.status,
            attempt=run.attempt,
            body_hash=run.body_hash,
            input=_inputs.decode(run.input),
            settings=_settings.decode(run.settings) if run.settings else None,
            error=_failure.decode(run.error) if run.error else None,
            created_ms=run.created_ms,
            ended_ms=run.ended_ms,
            steps=tuple(steps[run.run_id]),
            usage=_usage.decode(run.usage) if run.usage else None,
        )
        for run in rows
    )
    return Archive(KIND, VERSION, runs, _notes(connection, thread, {run.run_id for run in runs}))


def write(connection: Connection, thread: ThreadId, archive: Archive, now_ms: int) -> None:
    """Makes the thread with this memory; where it has exactly that already, nothing.

    Raises AgentProtocolError: `thread_gone`, `conflict` for a thread that was used otherwise."""
    threads.ensure(connection, thread, now_ms)
    lifecycle.refuse_gone(connection, thread)
    if _is_used(connection, thread):
        if read(connection, thread) == archive and not _is_open(connection, thread):
            return
        raise AgentProtocolError(
            "This thread has a memory of its own already. Import into a new one.",
            code=ErrorCode.CONFLICT,
        )
    _insert(connection, schema.runs, [_run_row(thread, n, r) for n, r in _numbered(archive)])
    steps = [(run, step) for run in archive.runs for step in run.steps]
    _insert(connection, schema.steps, [_step_row(thread, *one) for one in steps])
    calls = [_call_row(thread, run, step, c) for run, step in steps for c in step.calls]
    _insert(connection, schema.calls, calls)
    notes = [{**key(thread), **msgspec.structs.asdict(note)} for note in archive.notes]
    _insert(connection, schema.notes, notes)
    # No events are there. The numbers of those that each run had at least are not used again.
    threads.pass_over(connection, thread, ordinal=len(archive.runs), seq=2 * len(archive.runs))


def _is_used(connection: Connection, thread: ThreadId) -> bool:
    row = schema.runs
    some_run = connection.execute(select(row.c.run_id).where(of(row, thread)).limit(1)).first()
    return some_run is not None or tombstones.any_of(connection, thread)


def _is_open(connection: Connection, thread: ThreadId) -> bool:
    row = schema.runs
    found = select(row.c.run_id).where(of(row, thread, row.c.status.not_in(ENDED))).limit(1)
    return connection.execute(found).first() is not None


def _numbered(archive: Archive) -> list[tuple[int, PastRun]]:
    return list(enumerate(archive.runs, start=1))


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _steps(connection: Connection, thread: ThreadId) -> dict[str, list[PastStep]]:
    row = schema.calls
    calls: dict[tuple[str, int], list[PastCall]] = defaultdict(list)
    for call in connection.execute(
        select(row).where(of(row, thread)).order_by(row.c.step, row.c.position)
    ):
        calls[call.run_id, call.step].append(
            PastCall(
                call_id=call.call_id,
                position=call.position,
                name=call.name,
                args=call.args,
                outcome=call.outcome,
                content=call.content,
                truncated=bool(call.truncated),
            )
        )
    found: dict[str, list[PastStep]] = defaultdict(list)
    steps = schema.steps
    for step in connection.execute(
        select(steps).where(of(steps, thread)).order_by(steps.c.run_id, steps.c.step)
    ):
        found[step.run_id].append(
            PastStep(
                step=step.step,
                whole=bool(step.whole),
                text=step.text,
                input_tokens=step.input_tokens,
                output_tokens=step.output_tokens,
                created_ms=step.created_ms,
                calls=tuple(calls[step.run_id, step.step]),
            )
        )
    return found


def _notes(connection: Connection, thread: ThreadId, run_ids: set[str]) -> tuple[PastNote, ...]:
    row = schema.notes
    rows = connection.execute(select(row).where(of(row, thread)).order_by(row.c.number))
    return tuple(
        PastNote(one.number, one.call_id, one.run_id, one.text, one.created_ms)
        for one in rows
        if one.run_id in run_ids
    )


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _run_row(thread: ThreadId, ordinal: int, run: PastRun) -> dict[str, Any]:
    return {
        **key(thread),
        "run_id": run.run_id,
        "ordinal": ordinal,
        "status": run.status,
        "attempt": run.attempt,
        "failed_attempts": 0,
        "parked": False,
        "spent_ms": 0,
        "body_hash": run.body_hash,
        "input": _text(run.input),
        "settings": _text(run.settings) if run.settings else "",
        "error": _text(run.error) if run.error else None,
        "created_ms": run.created_ms,
        "ended_ms": run.ended_ms,
        "usage": _text(run.usage) if run.usage else None,
    }


def _step_row(thread: ThreadId, run: PastRun, step: PastStep) -> dict[str, Any]:
    return {
        **key(thread),
        "run_id": run.run_id,
        "step": step.step,
        "whole": step.whole,
        "text": step.text,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "created_ms": step.created_ms,
    }


def _call_row(thread: ThreadId, run: PastRun, step: PastStep, call: PastCall) -> dict[str, Any]:
    return {
        **key(thread),
        "run_id": run.run_id,
        "step": step.step,
        "state": "done",
        **msgspec.structs.asdict(call),
    }
