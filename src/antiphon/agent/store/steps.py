"""Steps: the history of a thread, as whole model steps with their calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, insert, select

from antiphon.agent.model import CallRow, StepRow, ThreadId, Turn
from antiphon.agent.store import ledger, schema
from antiphon.agent.store.threads import key, of
from antiphon.agent_api.messages import InputPart

_inputs = msgspec.json.Decoder(tuple[InputPart, ...])

MAX_TURNS = 200
"""Most turns of history that are looked at, whatever the token budget."""


def add(connection: Connection, thread: ThreadId, run_id: str, step: StepRow, now_ms: int) -> None:
    """Records a step and its calls."""
    connection.execute(
        insert(schema.steps).values(
            **key(thread),
            run_id=run_id,
            step=step.step,
            whole=step.whole,
            text=step.text,
            input_tokens=step.input_tokens,
            output_tokens=step.output_tokens,
            created_ms=now_ms,
        )
    )
    ledger.ask(connection, thread, step.calls)


def of_run(connection: Connection, thread: ThreadId, run_id: str) -> tuple[StepRow, ...]:
    """The steps of a run with their calls, in order."""
    return _load(connection, thread, [run_id])[run_id]


def turns(
    connection: Connection, thread: ThreadId, before_ordinal: int, limit: int = MAX_TURNS
) -> list[Turn]:
    """The runs of the thread before `before_ordinal`, newest first, that are history: answered
    or cancelled. (What became of the others is no part of the conversation.)"""
    row = schema.runs.c
    found = connection.execute(
        select(row.run_id, row.status, row.input)
        .where(
            of(schema.runs, thread, row.ordinal < before_ordinal),
            row.status.in_(("success", "cancelled")),
        )
        .order_by(row.ordinal.desc())
        .limit(limit)
    ).all()
    steps = _load(connection, thread, [one.run_id for one in found])
    return [
        Turn(one.run_id, one.status, _inputs.decode(one.input), steps[one.run_id]) for one in found
    ]


def _load(
    connection: Connection, thread: ThreadId, run_ids: list[str]
) -> dict[str, tuple[StepRow, ...]]:
    if not run_ids:
        return {}
    calls = _calls(connection, thread, run_ids)
    row = schema.steps.c
    rows = connection.execute(
        select(schema.steps)
        .where(of(schema.steps, thread, row.run_id.in_(run_ids)))
        .order_by(row.step)
    )
    steps: dict[str, list[StepRow]] = {run_id: [] for run_id in run_ids}
    for one in rows:
        steps[one.run_id].append(
            StepRow(
                step=one.step,
                text=one.text,
                whole=bool(one.whole),
                calls=tuple(calls[one.run_id, one.step]),
                input_tokens=one.input_tokens,
                output_tokens=one.output_tokens,
            )
        )
    return {run_id: tuple(found) for run_id, found in steps.items()}


def _calls(
    connection: Connection, thread: ThreadId, run_ids: Iterable[str]
) -> dict[tuple[str, int], list[CallRow]]:
    row = schema.calls.c
    rows = connection.execute(
        select(schema.calls)
        .where(of(schema.calls, thread, row.run_id.in_(list(run_ids))))
        .order_by(row.step, row.position)
    )
    found: dict[tuple[str, int], list[CallRow]] = defaultdict(list)
    for one in rows:
        found[one.run_id, one.step].append(ledger.row_to_call(one))
    return found
