"""`Records`: who and what over one database, for any surface. `sdk.prototype_state` holds one for
its surface. Statements stand in the modules beside; here each call is one transaction, with the
time and the new ids that it needs. Knows no agent and no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from antiphon.clock import Chance, Clock
from antiphon.core.access import AllowList
from antiphon.core.chat_settings import ChatSettings, merge
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.records import (
    chats,
    erasure,
    export,
    people,
    roles,
    rules,
    sessions,
    settings,
    threads,
    usage,
)
from antiphon.records.retention import Horizon, prune
from antiphon.records.rows import Mint, once
from antiphon.records.values import SettingRecord

MIGRATIONS = Path(__file__).parent / "migrations"

POLL_S = 1.0
"""How often a change of rules that another process made is looked for."""

NO_BASE: Mapping[str, Any] = {}

T = TypeVar("T")


class Transactions(Protocol):
    """What is used of `antiphon.db.Database`."""

    async def write(self, function: Callable[[Connection], T]) -> T: ...

    async def read(self, function: Callable[[Connection], T]) -> T: ...

    async def scrub(self) -> None: ...

    async def close(self) -> None: ...


class Records:
    """Every method is one transaction, durable when it returns; all may be called at once, from
    several processes. `surface`: whose things are meant; those of another are not there. `base`:
    what the surface's settings file sets. `by`: who asked, for the audit log. Raises DatabaseError
    where the database failed, and what the statements say."""

    def __init__(self, database: Transactions, clock: Clock, chance: Chance):
        self.database = database
        self.clock = clock
        self.mint: Mint = chance.token
        self._changed = asyncio.Event()
        self._known: dict[str, Rules] = {}

    # --- chats and sessions ---------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        """The chat of a place, made where it is new; calls at once get one."""
        known = await self.database.read(lambda connection: chats.find(connection, place))
        if known is not None:
            return known
        mint, now = self.mint, self.clock.now_ms()
        return await self.database.write(lambda c: chats.make(c, place, mint, now))

    async def new_session(
        self, surface: str, chat_id: ChatId, request_id: str, given: Session | None = None
    ) -> Session:
        """Another session, made current; `given`: with ids that the surface made up."""
        mint, now = self.mint, self.clock.now_ms()
        return await self.database.write(
            lambda c: sessions.make(c, surface, chat_id, request_id, mint, now, given)
        )

    async def sessions(self, surface: str, chat_id: ChatId) -> tuple[Session, ...]:
        """Those that were not retired, by number."""
        return await self.database.read(lambda c: sessions.all_of(c, surface, chat_id))

    async def switch_session(
        self, surface: str, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Makes it current."""
        now = self.clock.now_ms()
        return await self.database.write(
            lambda c: sessions.switch(c, surface, chat_id, session_id, request_id, now)
        )

    async def rename_session(
        self, surface: str, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        """Gives it a title."""
        now = self.clock.now_ms()
        return await self.database.write(
            lambda c: sessions.rename(c, surface, chat_id, session_id, title, request_id, now)
        )

    async def archive_session(
        self, surface: str, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Puts it out of sight; gives the one that is current then."""
        mint, now = self.mint, self.clock.now_ms()
        return await self.database.write(
            lambda c: sessions.archive(c, surface, chat_id, session_id, request_id, mint, now)
        )

    async def move_chat(self, old: Place, new: Place, base: Mapping[str, Any] = NO_BASE) -> None:
        """The chat, and what is set for its room, go on in `new`."""
        now = self.clock.now_ms()

        def move(connection: Connection) -> None:
            before = settings.isolation_of(connection, old.surface, old.room, base)
            if old.surface == new.surface:
                settings.move_room(connection, old.surface, old.room, new.room, now)
            after = settings.isolation_of(connection, new.surface, new.room, base)
            # The room's settings have moved already where another of its chats went before this.
            kind = "user" if old.user else "thread" if old.thread_root else "room"
            chats.move(connection, old, new, renew=after not in (before, kind))

        await self.database.write(move)

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]:
        """All chats of an account with all their threads."""
        return await self.database.read(lambda c: chats.kept(c, surface, account))

    async def forget_chat(self, place: Place) -> None:
        """The place has no chat any more; its threads are retired."""
        now = self.clock.now_ms()
        await self.database.write(lambda c: chats.remove_at(c, place, now))

    async def retire(self, surface: str, thread_id: ThreadId) -> None:
        """Never uses the thread again."""
        mint, now = self.mint, self.clock.now_ms()
        await self.database.write(lambda c: sessions.retire(c, surface, thread_id, mint, now))

    async def is_retired(self, thread_id: ThreadId) -> bool:
        """Whether it was."""
        return await self.database.read(lambda c: threads.is_retired(c, thread_id))

    # --- the start ------------------------------------------------------------------------------

    async def begin(self, surface: str, base: Mapping[str, Any] | None, horizon: Horizon) -> None:
        """A surface starts: follows what its settings file now says (None: it was not read), and
        lets go of what is old."""

        def write(connection: Connection) -> None:
            if base is not None:
                settings.note_file(connection, surface, base)
            prune(connection, horizon)

        await self.database.write(write)

    # --- settings, roles, rules -----------------------------------------------------------------

    async def resolve(
        self, place: Place, user_id: UserId, base: Mapping[str, Any] = NO_BASE
    ) -> ChatSettings:
        """What applies to what this person asks in this place; notes the person."""
        surface, now = place.surface, self.clock.now_ms()

        def look(connection: Connection) -> tuple[bool, ChatSettings]:
            known = people.is_known(connection, surface, user_id)
            found = settings.applying(connection, surface, place.room, user_id)
            return known, merge(found, base)

        known, found = await self.database.read(look)
        if not known:
            await self.database.write(lambda c: people.note(c, surface, user_id, now))
        return found

    async def settings(self, scope: Scope) -> dict[str, Any]:
        """What is set in this scope alone, as JSON values."""
        found = await self.database.read(lambda c: settings.read(c, (scope,)))
        return {key: value for _, key, value in found}

    async def set_setting(
        self,
        scope: Scope,
        key: str,
        value: Any,
        *,
        by: str,
        request_id: str,
        surface: str = "",
        base: Mapping[str, Any] = NO_BASE,
        expected: int | None = None,
    ) -> SettingRecord | None:
        """Sets (None: unsets) one setting, once by `request_id` of `surface` (by default the
        scope's); gives what is set now. Raises SettingsError and PlatformError `stale`."""
        now = self.clock.now_ms()

        def write(connection: Connection) -> SettingRecord | None:
            made: list[SettingRecord | None] = []

            def do() -> None:
                made.append(
                    settings.write(
                        connection,
                        scope,
                        key,
                        value,
                        by=by,
                        now_ms=now,
                        base=base,
                        expected=expected,
                    )
                )

            body = ("setting", msgspec.to_builtins(scope), key, value)
            once(connection, surface or scope.surface, request_id, body, now, do)
            return made[0] if made else settings.one(connection, scope, key)

        written = await self.database.write(write)
        self._tell()
        return written

    async def set_role(
        self, surface: str, pattern: str, role: Role | None, *, by: str, request_id: str
    ) -> None:
        """Gives a pattern a role, or takes it back. Raises SettingsError for one that is none."""
        pattern = pattern.strip()
        AllowList((pattern,), "pattern")
        now = self.clock.now_ms()

        def write(connection: Connection) -> None:
            def do() -> None:
                roles.write(connection, surface, pattern, role, by=by, now_ms=now)

            once(connection, surface, request_id, ("role", pattern, role), now, do)

        await self.database.write(write)
        self._tell()

    async def rules(self, surface: str, base: Mapping[str, Any] = NO_BASE) -> Rules:
        """The newest snapshot; read anew only where it has changed."""
        known = self._known.get(surface)

        def look(connection: Connection) -> Rules:
            if (
                known is not None
                and known.base == base
                and known.version == rules.version(connection, surface)
            ):
                return known
            return rules.read(connection, surface, base)

        found = await self.database.read(look)
        self._known[surface] = found
        return found

    async def rules_after(
        self, surface: str, version: str, base: Mapping[str, Any] = NO_BASE
    ) -> Rules:
        """Waits for other rules than those of `version`: changes that are made here are seen at
        once, those of other processes within a second."""
        while True:
            changed = self._changed
            found = await self.rules(surface, base)
            if found.version != version:
                return found
            await self._change_or_poll(changed)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change_or_poll(self, changed: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(changed.wait()),
                group.create_task(self.clock.sleep(POLL_S)),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    # --- usage and people -----------------------------------------------------------------------

    async def record_usage(self, surface: str, entries: tuple[UsageEntry, ...]) -> None:
        """Counts what runs used, each once."""
        if entries:
            await self.database.write(lambda c: usage.add(c, surface, entries))

    async def usage(
        self,
        surface: str,
        *,
        since_ms: int,
        user_id: UserId | None = None,
        room: RoomId | None = None,
    ) -> UsageSum:
        """What was used since a time."""
        return await self.database.read(lambda c: usage.total(c, surface, since_ms, user_id, room))

    async def forget_user(
        self, surface: str, user_id: UserId, request_id: str, *, by: str = "", owe: bool = False
    ) -> Forgotten:
        """Erases what is kept of a person, in the files of the database too. `owe`: what the agent
        has to erase is kept as debts here, else it is the caller's to see to."""
        now = self.clock.now_ms()

        def forget(connection: Connection) -> Any:
            def do() -> Any:
                found = erasure.forget_user(connection, surface, user_id, now, by=by, owe=owe)
                return msgspec.to_builtins(found)

            return once(connection, surface, request_id, ("forget", user_id), now, do)

        answer = await self.database.write(forget)
        self._tell()
        await self.database.scrub()
        return msgspec.convert(answer, Forgotten)

    async def export_user(self, surface: str, user_id: UserId) -> dict[str, Any]:
        """All that is kept of a person, as JSON values."""
        return await self.database.read(lambda c: export.export_user(c, surface, user_id))
