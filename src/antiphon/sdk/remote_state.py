"""`RemoteState`: users, chats, sessions, settings, roles and usage kept by a control plane, and
what it told kept here too (`control.db`), with the changes that it has not been told. Implements
`state.State`; asks over HTTP, talks to no agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from antiphon.clock import Chance, Clock
from antiphon.core.access import AllowList
from antiphon.core.chat_settings import LIMITS, ChatSettings, check, check_scope
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.db import Database
from antiphon.errors import (
    DatabaseError,
    MasterRefusedError,
    MasterUnreachableError,
    PlatformError,
    SettingsError,
)
from antiphon.records import queue
from antiphon.records.records import MIGRATIONS
from antiphon.records.sessions import checked_title
from antiphon.sdk.interface import StateHealth
from antiphon.sdk.remote_api import ControlPlane
from antiphon.sdk.remote_here import Here
from antiphon.sdk.remote_http import Http, RefusedError
from antiphon.sdk.remote_keep import Keeper
from antiphon.sdk.remote_link import AWAY, Limits, Link
from antiphon.sdk.remote_memory import Memory
from antiphon.sdk.remote_rules import RemoteRules
from antiphon.sdk.remote_teller import MOST_ENTRIES, Teller
from antiphon.sdk.remote_work import Work

STORE = "sdk.control"
"""The name that `control.db` carries: it is no local state, and none is taken for it."""

REFUSED_SETTINGS = frozenset({"unknown_setting", "bad_value", "bad_scope", "bad_pattern"})
DEFAULT_LIMITS = Limits()
DEFAULT_TTL_S = 300.0


class RemoteState:
    """The `State` of one surface whose records a control plane keeps. Made by `open`; `work` runs
    beside it, for as long as it is used.

    It is asked while it answers and everything was told; otherwise what was known counts, and what
    is changed is changed here and told later. What it refuses at once is raised and changes
    nothing; what it refuses later becomes a sentence in `health`."""

    def __init__(
        self,
        database: Database,
        http: Http,
        *,
        surface: str,
        clock: Clock,
        chance: Chance,
        base: Mapping[str, Any],
        roles_ttl_s: float,
        limits: Limits,
        aliases: dict[ChatId, ChatId],
    ):
        self._database = database
        self._link = Link(http.url)
        self._plane = plane = ControlPlane(http, surface, ask_s=limits.ask_s, gate=self._link.check)
        self._surface = surface
        self._clock = clock
        self._chance = chance
        self._aliases = aliases
        self._here = Here(database, surface, self._link, clock, chance)
        self._rules = RemoteRules(self._here, self._link, clock, ttl_s=roles_ttl_s, base=base)
        self._memory = Memory(clock, limits.known_s)
        self._keep = Keeper(database, surface, self._memory, clock)
        teller = Teller(plane, database, surface, self._link, clock, aliases)
        self._work = Work(
            plane,
            self._rules,
            teller,
            self._link,
            clock,
            chance,
            limits=limits,
            poll_s=min(limits.poll_s, roles_ttl_s / 3),
            settled=self._changed_here,
            changed=self._memory.changed,
            warm=self._warm,
        )

    @classmethod
    async def open(
        cls,
        url: str,
        http: Http,
        *,
        surface: str,
        clock: Clock,
        chance: Chance,
        base: Mapping[str, Any] | None = None,
        roles_ttl_s: float = DEFAULT_TTL_S,
        limits: Limits = DEFAULT_LIMITS,
    ) -> RemoteState:
        """Opens and migrates the database at `url`, and asks the control plane behind `http`, which
        may be away. `base`: what the surface's settings file says about chats, over what the
        control plane's says. `roles_ttl_s`: seconds after which roles that were given count no
        more, unless the control plane has confirmed them.

        Raises MasterRefusedError (the token), and what `Database.open` raises."""
        database = await Database.open(url, MIGRATIONS, store=STORE)
        try:
            aliases = await database.read(queue.all_aliases)
            state = cls(
                database,
                http,
                surface=surface,
                clock=clock,
                chance=chance,
                base=base or {},
                roles_ttl_s=roles_ttl_s,
                limits=limits,
                aliases=aliases,
            )
            await state._begin()
        except BaseException:
            await database.close()
            raise
        return state

    async def _begin(self) -> None:
        await self._here.load()
        await self._rules.load()
        try:
            rules = await self._plane.rules("", 0)
        except MasterUnreachableError as error:
            self._link.lost(error)
        except RefusedError as error:
            raise MasterRefusedError(
                f"The control plane at {self._plane.url} refuses this surface: {error.message}"
            ) from error
        else:
            await self._rules.take(rules)
            self._link.found()

    async def work(self) -> None:
        """Follows the rules, tells what waits, finds the control plane again; ends by
        cancellation."""
        await self._work.run()

    async def close(self) -> None:
        await self._database.close()

    # --- chats ----------------------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        self._own(place)
        known = self._memory.chat(place)
        if known is not None:
            return known
        self._rules.now()  # where nothing was ever told, a chat that is kept there would be doubled
        session, name = self._here.mint(), self._chance.token()
        if self._link.usable:
            age = self._memory.age
            with self._asking():
                if await self._keep.has_chat(place):
                    chat = await self._plane.chat(place)
                else:
                    chat = await self._plane.adopt(place, session, name)
                await self._keep.chat(chat, age)
                return chat
        return await self._here.chat(place, session, name)

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        chat_id = self._named(chat_id)
        known = await self._keep.session_of(chat_id, request_id)
        if known is not None:
            return known
        if self._link.usable:
            with self._asking():
                made = await self._plane.begin(chat_id, None, request_id)
                await self._keep.begun(made, request_id)
                return made
        made = await self._here.new_session(chat_id, request_id, self._here.mint(chat_id))
        self._memory.changed()
        return made

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        chat_id = self._named(chat_id)
        if self._link.usable:
            with self._asking():
                found = await self._plane.sessions(chat_id)
                await self._keep.sessions(chat_id, found)
                return found
        return await self._here.records.sessions(self._surface, chat_id)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        chat_id, body = self._named(chat_id), {"current": True, "archived": False}
        if self._link.usable:
            with self._asking():
                done = await self._plane.change_session(chat_id, session_id, body, request_id)
                await self._keep.changed_session(done)
                return done.session
        self._memory.changed()
        return await self._here.switch_session(chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        chat_id, title = self._named(chat_id), checked_title(title)
        if self._link.usable:
            with self._asking():
                body = {"title": title}
                done = await self._plane.change_session(chat_id, session_id, body, request_id)
                await self._keep.changed_session(done)
                return done.session
        self._memory.changed()
        return await self._here.rename_session(chat_id, session_id, title, request_id)

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        chat_id, body = self._named(chat_id), {"archived": True}
        if self._link.usable:
            with self._asking():
                done = await self._plane.change_session(chat_id, session_id, body, request_id)
                await self._keep.changed_session(done)
                return done.current
        self._memory.changed()
        return await self._here.archive_session(chat_id, session_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        self._own(old)
        self._own(new)
        if self._link.usable:
            with self._asking():
                chat = await self._plane.find(old)
                room = Scope("room", self._surface, old.room)
                if chat is None and old.room != new.room and await self._plane.settings(room):
                    chat = await self._plane.chat(old)  # what is set for the room goes with it
                if chat is not None and await self._plane.find(new) is None:
                    await self._plane.move(chat.chat_id, new, self._chance.token())
                    await self._keep.chat(await self._plane.chat_of(chat.chat_id), None)
                await self._take_rules()  # what was set for the room went along
                return
        await self._here.move_chat(old, new)
        await self._changed_here()

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]:
        if self._link.usable and surface == self._surface:
            with self._asking():
                found = await self._plane.chats(account)
                each = [await self._plane.sessions(chat.chat_id) for chat in found]
                await self._keep.all_chats(account, found, each)
        return await self._here.records.chats(surface, account)

    async def forget_chat(self, place: Place) -> None:
        self._own(place)
        if self._link.usable:
            with self._asking():
                chat = await self._plane.find(place)
                if chat is not None:
                    await self._plane.forget_chat(chat.chat_id, self._chance.token())
                await self._here.records.forget_chat(place)
                self._memory.changed()
                return
        await self._here.forget_chat(place)
        self._memory.changed()

    async def retire(self, thread_id: ThreadId) -> None:
        if self._link.usable:
            with self._asking():
                await self._plane.retire(thread_id, f"retire:{thread_id}")
                owner = await self._keep.retired(thread_id)
                if owner is not None:
                    await self._keep.chat(await self._plane.chat_of(owner), None)
                return
        await self._here.retire(thread_id)
        self._memory.changed()

    async def is_retired(self, thread_id: ThreadId) -> bool:
        if self._memory.is_usable(thread_id):
            return False
        if await self._here.records.is_retired(thread_id):
            return True
        if self._link.usable:
            with self._asking():
                if await self._plane.is_retired(thread_id):
                    await self._keep.retired(thread_id)
                    return True
                self._memory.put_usable(thread_id)
        return False

    # --- settings, roles, rules -----------------------------------------------------------------

    async def resolve(self, place: Place, user_id: UserId) -> ChatSettings:
        self._own(place)
        rules = self._rules.now()
        own = self._memory.person(user_id)
        if own is None:
            own = await self._of_person(place, user_id)
        return self._memory.resolved(place, user_id, rules, own)

    async def _of_person(self, place: Place, user_id: UserId) -> dict[str, Any]:
        """What a person has set for themselves; makes them known."""
        scope = Scope("user", self._surface, user_id)
        if self._link.usable:
            age = self._memory.age
            with self._asking():
                if await self._keep.is_new_person(user_id):
                    await self._plane.note_user(place.room, user_id)
                values = await self._plane.settings(scope)
                await self._keep.person(scope, values, age)
                return values
        await self._here.records.resolve(place, user_id)
        return await self._here.records.settings(scope)

    async def rules(self) -> Rules:
        return self._rules.now()

    async def rules_after(self, version: str) -> Rules:
        while True:
            change = self._rules.change()
            if self._rules.known:
                found = self._rules.now()
                if found.version != version:
                    return found
            await change.wait()

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        if scope.surface not in ("", self._surface):
            raise PlatformError("This scope is another surface's.", code="wrong_surface")
        check_scope(key, scope.kind)
        value = None if value is None else check(key, value)
        if self._link.usable:
            with self._asking(), _as_settings():
                await self._plane.set_setting(scope, key, value, by, request_id)
                if scope.kind == "user" and key not in LIMITS:
                    await self._keep.setting(scope, key, value)
                else:
                    await self._take_rules()
                return
        await self._here.set_setting(scope, key, value, by, request_id)
        await self._changed_here()

    async def _take_rules(self) -> None:
        """Sees at once what was just told."""
        await self._rules.take(await self._plane.rules("", 0))
        self._memory.changed()

    async def settings(self, scope: Scope) -> dict[str, Any]:
        if self._link.usable:
            age = self._memory.age
            with self._asking():
                values = await self._plane.settings(scope)
                if scope.kind == "user":
                    await self._keep.person(scope, values, age)
                return values
        return await self._here.records.settings(scope)

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        pattern = pattern.strip()
        AllowList((pattern,), "pattern")
        if self._link.usable:
            with self._asking(), _as_settings():
                await self._plane.set_role(pattern, role, by, request_id)
                await self._take_rules()
                return
        await self._here.set_role(pattern, role, by, request_id)
        await self._changed_here()

    # --- usage and people -----------------------------------------------------------------------

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        is_told = False
        if self._link.usable:
            with self._asking():
                for begin in range(0, len(entries), MOST_ENTRIES):
                    await self._plane.record_usage(entries[begin : begin + MOST_ENTRIES])
                is_told = True
        await self._here.record_usage(entries, is_told=is_told)

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        if self._link.usable:
            with self._asking():
                return await self._plane.usage(since_ms, user_id, room)
        return await self._here.records.usage(
            self._surface, since_ms=since_ms, user_id=user_id, room=room
        )

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        there: Forgotten | None = None
        if self._link.usable:
            await self._here.will_forget(user_id)
            with self._asking():
                there = await self._plane.forget_user(user_id, request_id)
        is_told = there is not None
        here = await self._here.forget_user(user_id, request_id, is_told=is_told)
        await self._changed_here()
        if there is None:
            return here
        with self._asking():
            await self._take_rules()
        return there

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        if self._link.reason is None:
            with self._asking():
                return await self._plane.export_user(user_id)
        raise MasterUnreachableError(
            f"What is kept of a person is not whole here. {self._link.detail} Try again later."
        )

    async def health(self) -> StateHealth:
        conflicts: tuple[str, ...] = ()
        detail, ok = self._link.detail, self._link.reason is None
        try:
            conflicts = await self._database.read(queue.all_conflicts)
        except DatabaseError as error:
            detail, ok = error.message, False
        return StateHealth(
            remote=True,
            ok=ok,
            detail=detail,
            waiting=self._link.waiting,
            conflicts=conflicts,
        )

    # --- inside ---------------------------------------------------------------------------------

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Where the control plane is away, the block ends there, and the caller goes on here."""
        try:
            yield
        except AWAY as error:
            self._link.lost(error)

    def _own(self, place: Place) -> None:
        if place.surface != self._surface:
            raise PlatformError(
                f"A place of {place.surface!r} does not belong to the surface {self._surface!r}.",
                code="wrong_surface",
            )

    def _named(self, chat_id: ChatId) -> ChatId:
        """The chat as it goes by there."""
        return self._aliases.get(chat_id, chat_id)

    async def _changed_here(self) -> None:
        self._memory.changed()
        await self._rules.reread()

    async def _warm(self) -> None:
        """Once: which chats there are, so that they are known when the control plane is away."""
        if not await self._keep.is_warm():
            await self._keep.warm(await self._plane.chats())


@contextmanager
def _as_settings() -> Iterator[None]:
    """What is wrong with a setting or a pattern, as it is said here."""
    try:
        yield
    except RefusedError as error:
        if error.code in REFUSED_SETTINGS:
            raise SettingsError(error.message, code=error.code) from error
        raise
