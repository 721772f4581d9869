"""Statements of usage: what each run used, counted once, and sums of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.people import UsageEntry, UsageSum
from antiphon.records.rows import insert_new
from antiphon.records.schema import erasures, usage
from antiphon.records.values import UsageDay

DAY_MS = 86_400_000

_SUMS = (
    func.count().label("turns"),
    func.coalesce(func.sum(usage.c.input_tokens), 0).label("input_tokens"),
    func.coalesce(func.sum(usage.c.output_tokens), 0).label("output_tokens"),
    func.coalesce(func.sum(usage.c.took_ms), 0).label("took_ms"),
)


def add(connection: Connection, surface: str, entries: Iterable[UsageEntry]) -> None:
    """Counts each run once. What somebody used before they were erased is not counted any more."""
    entries = tuple(entries)
    found = connection.execute(
        select(erasures.c.user_id, erasures.c.at_ms).where(
            erasures.c.surface == surface,
            erasures.c.user_id.in_({entry.user_id for entry in entries}),
        )
    )
    erased = {row.user_id: row.at_ms for row in found}
    for entry in sorted(entries, key=lambda entry: entry.run_id):
        if entry.at_ms <= erased.get(entry.user_id, -1):
            continue
        row = {
            "surface": surface,
            "run_id": entry.run_id,
            "user_id": entry.user_id,
            "room": entry.room,
            "at_ms": entry.at_ms,
            "input_tokens": entry.input_tokens,
            "output_tokens": entry.output_tokens,
            "took_ms": round(entry.seconds * 1000),
        }
        insert_new(connection, usage, row)


def _which(surface: str, since_ms: int, user_id: UserId | None, room: RoomId | None) -> list[Any]:
    which = [usage.c.surface == surface, usage.c.at_ms >= since_ms]
    if user_id is not None:
        which.append(usage.c.user_id == user_id)
    if room is not None:
        which.append(usage.c.room == room)
    return which


def total(
    connection: Connection,
    surface: str,
    since_ms: int,
    user_id: UserId | None = None,
    room: RoomId | None = None,
) -> UsageSum:
    """What was used since a time (included), by a person, in a room, or both."""
    which = _which(surface, since_ms, user_id, room)
    return _sum(connection.execute(select(*_SUMS).where(*which)).one())


def by_day(
    connection: Connection,
    surface: str,
    since_ms: int,
    user_id: UserId | None = None,
    room: RoomId | None = None,
) -> tuple[UsageDay, ...]:
    """The same day by day (UTC), those on which something was used, oldest first."""
    day = (usage.c.at_ms // DAY_MS).label("day")
    which = _which(surface, since_ms, user_id, room)
    rows = connection.execute(select(day, *_SUMS).where(*which).group_by(day).order_by(day))
    return tuple(
        UsageDay(datetime.fromtimestamp(row.day * 86_400, UTC).date().isoformat(), _sum(row))
        for row in rows
    )


def of_person(connection: Connection, surface: str, user_id: UserId) -> list[UsageEntry]:
    """Everything that a person used, oldest first."""
    rows = connection.execute(
        select(usage)
        .where(usage.c.surface == surface, usage.c.user_id == user_id)
        .order_by(usage.c.at_ms, usage.c.run_id)
    )
    return [
        UsageEntry(
            RunId(row.run_id),
            UserId(row.user_id),
            RoomId(row.room),
            row.at_ms,
            row.input_tokens,
            row.output_tokens,
            row.took_ms / 1000,
        )
        for row in rows
    ]


def forget_user(connection: Connection, surface: str, user_id: UserId) -> int:
    """Removes what a person used; gives how many runs those were."""
    gone = connection.execute(
        delete(usage)
        .where(usage.c.surface == surface, usage.c.user_id == user_id)
        .returning(usage.c.run_id)
    )
    return len(gone.all())


def _sum(row: Row[Any]) -> UsageSum:
    return UsageSum(
        turns=int(row.turns),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        seconds=int(row.took_ms) / 1000,
    )
