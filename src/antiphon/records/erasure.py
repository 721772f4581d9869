"""Statements of erasing a person, and of what the agent then still has to erase."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from antiphon.core.ids import ThreadId, UserId
from antiphon.core.people import Forgotten
from antiphon.records import audit, chats, people, roles, settings, usage
from antiphon.records.rows import insert_new
from antiphon.records.rules import bump_rules
from antiphon.records.schema import erasure_debts, erasures
from antiphon.records.values import Debt


def forget_user(
    connection: Connection,
    surface: str,
    user_id: UserId,
    now_ms: int,
    *,
    by: str = "",
    owe: bool = False,
) -> Forgotten:
    """Erases what is kept of a person. `shared` are all threads of the surface in which anybody may
    have spoken: who did is known to the agent alone. `owe`: keeps what the agent still has to erase
    as debts, in the same transaction."""
    number, threads = chats.remove_of_user(connection, surface, user_id, now_ms)
    forgotten = Forgotten(
        chats=number,
        settings=settings.forget_user(connection, surface, user_id),
        usage=usage.forget_user(connection, surface, user_id),
        threads=threads,
        shared=chats.shared_threads(connection, surface),
    )
    roles.forget_user(connection, surface, user_id)
    people.forget(connection, surface, user_id)
    audit.erase(connection, surface, user_id)
    key = {"surface": surface, "user_id": user_id}
    connection.execute(delete(erasures).filter_by(**key))
    connection.execute(insert(erasures).values(**key, at_ms=now_ms))
    bump_rules(connection, surface, now_ms)
    counts = {"chats": number, "settings": forgotten.settings, "usage": forgotten.usage}
    actor = audit.ERASED if by in ("", user_id) else by
    audit.note(connection, surface, actor, "user.erased", audit.ERASED, now_ms, counts)
    if owe:
        owe_threads(connection, surface, forgotten.threads, now_ms)
        for thread_id in forgotten.shared:
            _owe(connection, surface, thread_id, user_id, now_ms)
    return forgotten


def owe_threads(
    connection: Connection, surface: str, threads: Iterable[ThreadId], now_ms: int
) -> None:
    """The agent has to erase these threads whole."""
    for thread_id in threads:
        _owe(connection, surface, thread_id, None, now_ms)


def _owe(
    connection: Connection, surface: str, thread_id: ThreadId, author: UserId | None, now_ms: int
) -> None:
    row = {"surface": surface, "thread_id": thread_id, "author": author or "", "at_ms": now_ms}
    insert_new(connection, erasure_debts, row)


def debts(connection: Connection, limit: int) -> tuple[Debt, ...]:
    """What the agent still has to erase, the oldest first."""
    rows = connection.execute(
        select(erasure_debts)
        .order_by(
            erasure_debts.c.at_ms,
            erasure_debts.c.surface,
            erasure_debts.c.thread_id,
            erasure_debts.c.author,
        )
        .limit(limit)
    )
    return tuple(
        Debt(
            row.surface,
            ThreadId(row.thread_id),
            UserId(row.author) if row.author else None,
            row.at_ms,
        )
        for row in rows
    )


def settle(connection: Connection, debt: Debt) -> None:
    """The agent has erased it."""
    connection.execute(
        delete(erasure_debts).where(
            erasure_debts.c.surface == debt.surface,
            erasure_debts.c.thread_id == debt.thread_id,
            erasure_debts.c.author == (debt.author or ""),
        )
    )
