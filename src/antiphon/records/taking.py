"""The statements that take one surface's rows into a database that others may be in: what is there
wins, what was erased there stays erased, and nothing is taken twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, exists, func, insert, select

from antiphon.core.chat_settings import merge
from antiphon.core.ids import ThreadId, UserId
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.records import audit as log
from antiphon.records import erasure, threads
from antiphon.records import settings as options
from antiphon.records.rows import insert_new
from antiphon.records.rules import bump_rules
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

Rows = list[dict[str, Any]]
PLACE = ("surface", "account", "room", "thread_root", "user_id")


def take(
    connection: Connection,
    surface: str,
    rows: Callable[[str], Rows],
    by: str,
    now_ms: int,
    taken: Counter[str],
    kept: Counter[str],
    conflicts: list[str],
) -> None:
    """Takes the rows of each table that `rows` gives, and counts what became of them."""
    _Taking(connection, surface, rows, now_ms, taken, kept, conflicts).all()
    if taken:
        bump_rules(connection, surface, now_ms)
        log.note(connection, surface, by, "state.imported", surface, now_ms, dict(taken))


class _Taking:
    def __init__(
        self,
        connection: Connection,
        surface: str,
        rows: Callable[[str], Rows],
        now_ms: int,
        taken: Counter[str],
        kept: Counter[str],
        conflicts: list[str],
    ):
        self._connection = connection
        self._surface = surface
        self._rows = rows
        self._now_ms = now_ms
        self._taken = taken
        self._kept = kept
        self._conflicts = conflicts
        self._erased: dict[str, int] = {}
        self._retired = {row["thread_id"] for row in rows("retired_threads")}

    def all(self) -> None:
        """In an order in which each finds what it stands upon."""
        self._erasures()
        self._people()
        self._settings()
        self._roles()
        self._chats()
        for row in self._rows("retired_threads"):
            self._insert(retired_threads, row)
        for row in self._rows("usage"):
            gone = self._is_erased(row["user_id"], row["at_ms"])
            self._insert(usage, row, unless=gone)
        for row in self._rows("requests"):
            self._insert(requests, row)
        for row in self._rows("erasure_debts"):
            self._insert(erasure_debts, row)
        for row in self._rows("audit"):
            self._line(row)

    def _count(self, table: Table, was_taken: bool) -> None:
        (self._taken if was_taken else self._kept)[table.name] += 1

    def _insert(self, table: Table, row: dict[str, Any], *, unless: bool = False) -> bool:
        made = not unless and insert_new(self._connection, table, row)
        self._count(table, made)
        return made

    def _is_erased(self, user_id: str, at_ms: int | None = None) -> bool:
        """Whether the person was erased there (and this, of that time, is from before it)."""
        when = self._erased.get(user_id)
        return when is not None and (at_ms is None or at_ms <= when)

    # --- people, settings, roles ----------------------------------------------------------------

    def _erasures(self) -> None:
        """Who was erased here is erased there, too; and who was erased there is not taken."""
        known = select(erasures.c.user_id, erasures.c.at_ms).where(
            erasures.c.surface == self._surface
        )
        there = {row.user_id: int(row.at_ms) for row in self._connection.execute(known)}
        for row in self._rows("erasures"):
            user_id, at_ms = row["user_id"], int(row["at_ms"])
            if at_ms > there.get(user_id, -1):
                erasure.forget_user(self._connection, self._surface, UserId(user_id), at_ms)
                self._count(erasures, True)
            else:
                self._count(erasures, False)
        here = {row["user_id"]: int(row["at_ms"]) for row in self._rows("erasures")}
        self._erased = {
            user_id: at_ms for user_id, at_ms in there.items() if at_ms > here.get(user_id, -1)
        }

    def _people(self) -> None:
        for row in self._rows("users"):
            gone = self._is_erased(row["user_id"], row["first_seen_ms"])
            self._insert(users, row, unless=gone)

    def _settings(self) -> None:
        for row in self._rows("settings"):
            key, scope = row["key"], row["scope"]
            if scope == "platform":  # those come last: what the surface has for itself wins
                row = {**row, "scope": "surface", "surface": self._surface, "subject": ""}
            gone = row["scope"] == "user" and self._is_erased(row["subject"])
            if self._insert(settings, row, unless=gone) or gone or scope == "platform":
                continue
            names = {name: row[name] for name in ("scope", "surface", "subject", "key")}
            there = self._connection.execute(
                select(settings.c.value).filter_by(**names)
            ).scalar_one()
            if there != row["value"]:
                what = f"{row['scope']} {row['subject']}".strip()
                self._conflicts.append(f"`{key}` is set otherwise there for {what}.")

    def _roles(self) -> None:
        for row in self._rows("roles"):
            gone = row["role"] != Role.BLOCKED.value and self._is_erased(row["pattern"])
            if self._insert(roles, row, unless=gone) or gone:
                continue
            there = self._connection.execute(
                select(roles.c.role).filter_by(surface=self._surface, pattern=row["pattern"])
            ).scalar_one()
            if there != row["role"]:
                self._conflicts.append(f"{row['pattern']} is {there} there and {row['role']} here.")

    def _line(self, row: dict[str, Any]) -> None:
        """A line of the log; it has no name, so one that is the same in all is the same."""
        line = {name: value for name, value in row.items() if name != "seq"}
        for name in ("actor", "subject"):
            if self._is_erased(line[name], line["at_ms"]):
                line[name] = log.ERASED
        same = exists().where(*(audit.c[name] == value for name, value in line.items()))
        known = bool(self._connection.execute(select(same)).scalar_one())
        if not known:
            self._connection.execute(insert(audit).values(**line))
        self._count(audit, not known)

    # --- chats ----------------------------------------------------------------------------------

    def _chats(self) -> None:
        of_chat: dict[str, Rows] = {}
        for row in self._rows("sessions"):
            of_chat.setdefault(row["chat_id"], []).append(row)
        for row in self._rows("chats"):
            self._chat(row, of_chat.get(row["chat_id"], []))

    def _chat(self, row: dict[str, Any], memories: Rows) -> None:
        usable = [memory for memory in memories if self._is_free(memory)]
        alive = [memory for memory in usable if memory["thread_id"] not in self._retired]
        there = self._chat_there(row)
        if there is None:
            if not alive:  # it was forgotten there
                self._count(chats, False)
                for _ in memories:
                    self._count(sessions, False)
                return
            if row["session_id"] not in {memory["session_id"] for memory in alive}:
                row = {**row, "session_id": alive[-1]["session_id"]}
            row = {**row, "renew": bool(row["renew"]) or self._isolates_otherwise(row)}
            there = str(row["chat_id"])
            self._insert(chats, row)
        else:
            self._count(chats, False)
            if there != row["chat_id"]:
                self._conflicts.append(
                    f"There is another chat in {row['room']} already; what was said here can be "
                    "switched to as a session of it."
                )
        for memory in memories:
            self._memory(memory, there, usable=memory in usable)

    def _chat_there(self, row: dict[str, Any]) -> str | None:
        """The chat that has its id, else the one that has its place."""
        for names in (("chat_id", "surface"), PLACE):
            found = self._connection.execute(
                select(chats.c.chat_id).filter_by(**{name: row[name] for name in names})
            ).scalar_one_or_none()
            if found is not None:
                return str(found)
        return None

    def _is_free(self, memory: dict[str, Any]) -> bool:
        return not threads.is_used(self._connection, ThreadId(memory["thread_id"]))

    def _memory(self, memory: dict[str, Any], chat_id: str, *, usable: bool) -> None:
        if usable:
            number, request_id = memory["number"], memory["request_id"]
            if chat_id != memory["chat_id"] or self._number_taken(chat_id, number):
                number, request_id = self._next_number(chat_id), None
            row = {**memory, "chat_id": chat_id, "number": number, "request_id": request_id}
            self._insert(sessions, row)
        else:
            self._count(sessions, False)

    def _number_taken(self, chat_id: str, number: int) -> bool:
        taken = exists().where(sessions.c.chat_id == chat_id, sessions.c.number == number)
        return bool(self._connection.execute(select(taken)).scalar_one())

    def _next_number(self, chat_id: str) -> int:
        last = select(func.coalesce(func.max(sessions.c.number), 0)).where(
            sessions.c.chat_id == chat_id
        )
        return int(self._connection.execute(last).scalar_one()) + 1

    def _isolates_otherwise(self, row: dict[str, Any]) -> bool:
        """Whether another isolation holds in its room there than did here."""
        surface, room = self._surface, row["room"]
        scopes = (
            Scope("platform"),
            Scope("surface", surface),
            Scope("room", surface, room),
        )
        here = [
            (scope, one["key"], msgspec.json.decode(one["value"]))
            for one in self._rows("settings")
            if one["key"] == "isolation"
            and (scope := Scope(one["scope"], one["surface"], one["subject"])) in scopes
        ]
        there = options.isolation_of(self._connection, surface, room, {})
        return merge(here).isolation != there


__all__ = ["take"]
