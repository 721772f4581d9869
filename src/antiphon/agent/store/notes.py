"""Notes of a thread, and search in its history: what tools may see."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, insert, select

from antiphon.agent.model import ThreadId
from antiphon.agent.store import schema
from antiphon.agent.store.threads import key, of
from antiphon.agent.tools.port import Note, PastMessage
from antiphon.agent_api.messages import InputPart

_inputs = msgspec.json.Decoder(tuple[InputPart, ...])

SEARCHED_RUNS = 2_000
"""Most runs of the thread, newest first, that a search reads."""


def add(
    connection: Connection, thread: ThreadId, run_id: str, call_id: str, text: str, now_ms: int
) -> Note:
    """Keeps a note; the same `call_id` again gives the note that it made."""
    row = schema.notes
    found = connection.execute(
        select(row).where(of(row, thread, row.c.call_id == call_id))
    ).one_or_none()
    if found is not None:
        return Note(found.number, found.text, found.created_ms)
    highest = connection.execute(select(func.max(row.c.number)).where(of(row, thread))).scalar_one()
    number = (highest or 0) + 1
    connection.execute(
        insert(row).values(
            **key(thread),
            number=number,
            call_id=call_id,
            run_id=run_id,
            text=text,
            created_ms=now_ms,
        )
    )
    return Note(number, text, now_ms)


def all_of(connection: Connection, thread: ThreadId) -> tuple[Note, ...]:
    """All notes of the thread, oldest first."""
    row = schema.notes
    rows = connection.execute(select(row).where(of(row, thread)).order_by(row.c.number))
    return tuple(Note(one.number, one.text, one.created_ms) for one in rows)


def search(
    connection: Connection, thread: ThreadId, before_ordinal: int, words: str, limit: int
) -> tuple[PastMessage, ...]:
    """Messages of answered or cancelled runs before `before_ordinal` that contain all `words`
    (whatever their case), newest first. Filtered here: SQLite folds only ASCII."""
    wanted = [word.casefold() for word in words.split()]
    runs, steps = schema.runs.c, schema.steps.c
    rows = connection.execute(
        select(runs.run_id, runs.input, runs.created_ms)
        .where(
            of(schema.runs, thread, runs.ordinal < before_ordinal),
            runs.status.in_(("success", "cancelled")),
        )
        .order_by(runs.ordinal.desc())
        .limit(SEARCHED_RUNS)
    ).all()
    found: list[PastMessage] = []
    for run in rows:
        answers = connection.execute(
            select(steps.text, steps.created_ms)
            .where(of(schema.steps, thread, steps.run_id == run.run_id))
            .order_by(steps.step.desc())
        )
        said = [PastMessage("assistant", one.text, one.created_ms) for one in answers]
        said += [
            PastMessage("user", part.text, run.created_ms)
            for part in reversed(_inputs.decode(run.input))
        ]
        for message in said:
            folded = message.text.casefold()
            if all(word in folded for word in wanted):
                found.append(message)
        if len(found) >= limit:
            break
    return tuple(found[:limit])
