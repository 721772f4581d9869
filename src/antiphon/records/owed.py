"""What the agent still owes of one person's erasure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, or_, select

from antiphon.core.ids import ThreadId, UserId
from antiphon.records.schema import erasure_debts

AT_ONCE = 500
"""Most threads that one statement names."""


def still_owed(
    connection: Connection, surface: str, user_id: UserId, threads: Sequence[ThreadId]
) -> set[tuple[ThreadId, bool]]:
    """The debts about what `user_id` said, and about these whole `threads`: thread, and whether it
    is about an author."""
    owed: set[tuple[ThreadId, bool]] = set()
    pieces = [threads[at : at + AT_ONCE] for at in range(0, len(threads), AT_ONCE)] or [()]
    for piece in pieces:
        whole = and_(erasure_debts.c.author == "", erasure_debts.c.thread_id.in_(piece))
        rows = connection.execute(
            select(erasure_debts.c.thread_id, erasure_debts.c.author)
            .where(erasure_debts.c.surface == surface)
            .where(or_(erasure_debts.c.author == user_id, whole))
        )
        owed |= {(ThreadId(row.thread_id), bool(row.author)) for row in rows}
    return owed
