"""What runs used: owed to whoever counts it, from the transaction that fixes the answer on."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from antiphon.adapter.matrix.journal.schema import usage_owed
from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.people import UsageEntry


def owe(connection: Connection, entry: UsageEntry) -> None:
    """Records what a run used; once is enough."""
    connection.execute(delete(usage_owed).where(usage_owed.c.run_id == entry.run_id))
    connection.execute(
        insert(usage_owed).values(
            run_id=entry.run_id,
            user_id=entry.user_id,
            room_id=entry.room,
            at_ms=entry.at_ms,
            input_tokens=entry.input_tokens,
            output_tokens=entry.output_tokens,
            took_ms=round(entry.seconds * 1000),
        )
    )


def owed(connection: Connection, most: int) -> tuple[UsageEntry, ...]:
    """Up to `most` of what is owed, the oldest first."""
    rows = connection.execute(
        select(usage_owed).order_by(usage_owed.c.at_ms, usage_owed.c.run_id).limit(most)
    )
    return tuple(
        UsageEntry(
            run_id=RunId(row.run_id),
            user_id=UserId(row.user_id),
            room=RoomId(row.room_id),
            at_ms=row.at_ms,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            seconds=row.took_ms / 1000,
        )
        for row in rows
    )


def counted(connection: Connection, entries: tuple[UsageEntry, ...]) -> None:
    """These were counted."""
    connection.execute(
        delete(usage_owed).where(usage_owed.c.run_id.in_([entry.run_id for entry in entries]))
    )
