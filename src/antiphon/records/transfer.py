"""Local state moved into a control plane: all rows of a surface read from its own database, and
taken into another one. What is there stays; the same again changes nothing; what did not fit is
told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from antiphon.core.scopes import SCOPES
from antiphon.db.peek import peek
from antiphon.errors import StateError
from antiphon.records import taking
from antiphon.records.records import MIGRATIONS, Transactions
from antiphon.records.schema import (
    audit,
    chats,
    erasure_debts,
    erasures,
    requests,
    retired_threads,
    roles,
    sessions,
    settings,
    usage,
    users,
)

OF_A_SURFACE = (users, chats, roles, usage, audit, requests, erasures, erasure_debts)


class LocalRows(msgspec.Struct, frozen=True):
    """All that a surface has kept: its rows by table, by column."""

    surface: str
    tables: dict[str, list[dict[str, Any]]]

    def of(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table."""
        return self.tables.get(table, [])


class Imported(msgspec.Struct, frozen=True):
    """What came of it, by kind of thing: how many were `taken`, how many were there already (`kept`
    as they are there, or erased there since), and what did not fit, one sentence each."""

    surface: str
    taken: dict[str, int]
    kept: dict[str, int]
    conflicts: tuple[str, ...] = ()


async def read_local(url: str, surface: str) -> LocalRows:
    """What the database at `url` (such as `sqlite:///…/state.db`) has of a surface, at one moment
    and in the newest schema; it is not changed. No adapter should be at work on it: what it does
    later is not in here. Raises StateError where there is no such database or nothing of the
    surface in it, and what `antiphon.db.peek.peek` raises."""
    found = await peek(url, MIGRATIONS, lambda c: _read(c, surface), steady=True)
    if found is None:
        raise StateError(f"There is no state at {url}. Name the file, such as state.db.")
    of_it = [row for name in ("users", "chats", "settings", "roles") for row in found.of(name)]
    if not any(row["surface"] == surface for row in of_it):
        raise StateError(f"The state at {url} has nothing of a surface {surface!r}.")
    return found


async def import_local(target: Transactions, rows: LocalRows, *, by: str, now_ms: int) -> Imported:
    """Takes them into the database `target`, in one transaction.

    A chat whose place has another one there is joined to that: its sessions can be switched to.
    What the surface set for everybody is set for the surface alone there. Raises DatabaseError."""

    def take(connection: Connection) -> Imported:
        taken: Counter[str] = Counter()
        kept: Counter[str] = Counter()
        conflicts: list[str] = []
        taking.take(connection, rows.surface, rows.of, by, now_ms, taken, kept, conflicts)
        return Imported(rows.surface, dict(taken), dict(kept), tuple(conflicts))

    return await target.write(take)


def _read(connection: Connection, surface: str) -> LocalRows:
    tables: dict[str, list[dict[str, Any]]] = {}
    for table in OF_A_SURFACE:
        mine = select(table).where(table.c.surface == surface).order_by(*table.primary_key)
        tables[table.name] = _rows(connection, mine)
    of_mine = (
        select(sessions)
        .join(chats, chats.c.chat_id == sessions.c.chat_id)
        .where(chats.c.surface == surface)
        .order_by(sessions.c.chat_id, sessions.c.number)
    )
    tables["sessions"] = _rows(connection, of_mine)
    wide = settings.c.scope == "platform"
    tables["settings"] = _rows(
        connection,
        select(settings)
        .where((settings.c.surface == surface) | wide, settings.c.scope.in_(SCOPES))
        .order_by(wide, *settings.primary_key),
    )
    tables["retired_threads"] = _rows(connection, select(retired_threads))
    return LocalRows(surface, tables)


def _rows(connection: Connection, statement: Any) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(statement)]
