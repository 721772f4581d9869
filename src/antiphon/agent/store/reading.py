"""What a reader needs of a thread: where a cursor stands, and the state of a run from its rows."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.agent import snapshots
from antiphon.agent.model import ThreadId
from antiphon.agent.store import events, lifecycle, runs, steps, threads
from antiphon.agent_api.messages import Cursor, Snapshot

MAX_SEQ = 2**63 - 1
MAX_ATTEMPT = 2**31 - 1
"""What the columns hold; above that the database could not even compare."""


class Place(msgspec.Struct, frozen=True):
    """A reader goes on after `after_seq`; `last_seq` is the thread's newest committed event.

    `after_seq` is None where the cursor is too old, ahead or of another history: a snapshot."""

    after_seq: int | None
    last_seq: int


def place(connection: Connection, thread: ThreadId, cursor: Cursor) -> Place:
    """Where the events after `cursor` begin. A cursor in text that a later attempt made void
    goes on at that attempt's `run.resumed`."""
    last = threads.last_seq(connection, thread) or 0
    if cursor.seq > MAX_SEQ or cursor.attempt > MAX_ATTEMPT:
        return Place(None, last)
    if cursor.seq == 0:
        first = events.first_of(connection, thread, cursor.run_id, 0)
        found = events.at(connection, thread, first) if first else None
        whole = found is not None and found.type == "run.started"
        return Place(found.seq - 1 if found and whole else None, last)
    found = events.at(connection, thread, cursor.seq)
    if found and found.run_id == cursor.run_id and found.attempt == cursor.attempt:
        return Place(cursor.seq, last)
    resumed = events.first_of(connection, thread, cursor.run_id, cursor.attempt)
    if resumed is not None and resumed <= cursor.seq:
        return Place(resumed - 1, last)
    return Place(None, last)


def readable(
    connection: Connection, thread: ThreadId, run_id: str | None, seen: str | None
) -> str | None:
    """The run to show: `run_id`; where that is None `seen` (the cursor's) if it is there, else
    the latest. None: no such run. Raises AgentProtocolError `thread_gone`."""
    lifecycle.refuse_gone(connection, thread)
    wanted = run_id or seen
    found = runs.get(connection, thread, wanted) if wanted else None
    if found is None and run_id is None:
        found = runs.latest(connection, thread)
    return found.run_id if found else None


def snapshot(connection: Connection, thread: ThreadId, run_id: str) -> Snapshot | None:
    """The committed state of a run, at the thread's newest committed event."""
    run = runs.get(connection, thread, run_id)
    if run is None:
        return None
    found = steps.of_run(connection, thread, run_id)
    return snapshots.stored(run, found, threads.last_seq(connection, thread) or 0)
