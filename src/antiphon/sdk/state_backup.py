"""The local state in a backup: taken out whole, asked for its threads, and fitted to the agent when
it comes back. Knows the tables of `state.db`; talks to no agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, select, update

from antiphon.core.ids import ThreadId
from antiphon.db.database import store_name
from antiphon.db.dump import Dump, dump
from antiphon.records.rows import insert_new
from antiphon.records.schema import retired_threads, sessions
from antiphon.sdk.prototype_state import MIGRATIONS

STORE = store_name(MIGRATIONS)
FILE = "state.db"


def state_file(state: Path) -> Path:
    """Where the local state of a state folder is."""
    return state / FILE


async def dump_state(state: Path) -> Dump | None:
    """All of the local state, as it is; None where there is none. Raises what `peek` raises."""
    return await dump(f"sqlite:///{state_file(state)}", MIGRATIONS)


def threads_of(taken: Dump) -> tuple[ThreadId, ...]:
    """The threads that its sessions remember in, without those that were forgotten."""
    gone = retired_of(taken)
    found = (ThreadId(row["thread_id"]) for row in taken.rows("sessions"))
    return tuple(sorted(thread_id for thread_id in found if thread_id not in gone))


def retired_of(taken: Dump) -> dict[ThreadId, int]:
    """The threads that must never be used again, and since when (milliseconds)."""
    rows = taken.rows("retired_threads")
    return {ThreadId(row["thread_id"]): int(row["retired_ms"]) for row in rows}


def put_back(
    connection: Connection,
    moved: Mapping[ThreadId, ThreadId],
    retired: Mapping[ThreadId, int],
) -> None:
    """Sessions whose thread has moved go on in the new one, and what is `retired` meanwhile stays
    so (a thread in which a session remembers is left out)."""
    for old, new in moved.items():
        connection.execute(
            update(sessions).where(sessions.c.thread_id == old).values(thread_id=new)
        )
    used = set(connection.execute(select(sessions.c.thread_id)).scalars())
    for thread_id, at_ms in retired.items():
        if thread_id not in used:
            row = {"thread_id": thread_id, "retired_ms": at_ms}
            insert_new(connection, retired_threads, row)
