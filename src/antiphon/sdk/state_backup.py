"""The local state in a backup: taken out whole, asked for its threads, and fitted to the agent when
it comes back. Knows the tables of `state.db`; talks to no agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select, update

from antiphon.core.ids import ThreadId, UserId
from antiphon.core.people import Role
from antiphon.db.database import store_name
from antiphon.db.dump import Dump, dump
from antiphon.records import erasure, roles
from antiphon.records.rows import insert_new
from antiphon.records.rules import bump_rules
from antiphon.records.schema import erasures, retired_threads, sessions
from antiphon.sdk.prototype_state import MIGRATIONS

STORE = store_name(MIGRATIONS)
FILE = "state.db"

RESTORE = "(restore)"
"""Who blocked again whom a backup did not know as blocked, in the audit log."""


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


class Since(msgspec.Struct, frozen=True):
    """What was decided since a backup was written and must outlive its return: threads that were
    forgotten, people who were erased and who were blocked, each by surface."""

    retired: dict[ThreadId, int]
    erased: dict[tuple[str, UserId], int]
    blocked: frozenset[tuple[str, str]]


def since_of(present: Dump | None) -> Since:
    """What the state that is here (None: there is none, or it can't be read) has decided."""
    if present is None:
        return Since({}, {}, frozenset())
    return Since(
        retired=retired_of(present),
        erased=_erasures(present),
        blocked=frozenset(
            (row["surface"], row["pattern"])
            for row in present.rows("roles")
            if row["role"] == Role.BLOCKED
        ),
    )


def _erasures(taken: Dump) -> dict[tuple[str, UserId], int]:
    rows = taken.rows("erasures")
    return {(row["surface"], UserId(row["user_id"])): int(row["at_ms"]) for row in rows}


def erased_since(backup: Dump | None, present: Dump | None) -> tuple[UserId, ...]:
    """The people whom the backup still knows and who were erased after it was written."""
    known = {} if backup is None else _erasures(backup)
    now = {} if present is None else _erasures(present)
    return tuple(sorted({who[1] for who, at_ms in now.items() if at_ms > known.get(who, -1)}))


def put_back(
    connection: Connection, moved: Mapping[ThreadId, ThreadId], since: Since, now_ms: int
) -> None:
    """Sessions whose thread has moved go on in the new one. What was retired meanwhile stays so (a
    thread in which a session remembers is left out), who was erased meanwhile is erased again, and
    who was blocked is blocked."""
    for old, new in moved.items():
        connection.execute(
            update(sessions).where(sessions.c.thread_id == old).values(thread_id=new)
        )
    used = set(connection.execute(select(sessions.c.thread_id)).scalars())
    for thread_id, at_ms in since.retired.items():
        if thread_id not in used:
            row = {"thread_id": thread_id, "retired_ms": at_ms}
            insert_new(connection, retired_threads, row)
    for (surface, user_id), at_ms in since.erased.items():
        known = connection.execute(
            select(erasures.c.at_ms).filter_by(surface=surface, user_id=user_id)
        ).scalar_one_or_none()
        if known is None or known < at_ms:
            erasure.forget_user(connection, surface, user_id, at_ms)
    for surface, pattern in since.blocked:
        roles.write(connection, surface, pattern, Role.BLOCKED, by=RESTORE, now_ms=now_ms)
    bump_rules(connection, "", now_ms)
