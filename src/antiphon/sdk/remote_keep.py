"""Keeps what the control plane answered: in the surface's own records, and in memory for a moment.
Writes nothing that is known already; asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.clock import Clock
from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.db import Database
from antiphon.records import chats, people, queue, told
from antiphon.sdk.remote_api import Changed
from antiphon.sdk.remote_memory import Memory

WARM = "warm"


class Keeper:
    """Of one surface."""

    def __init__(self, database: Database, surface: str, memory: Memory, clock: Clock):
        self._database = database
        self._surface = surface
        self._memory = memory
        self._clock = clock

    # --- chats ----------------------------------------------------------------------------------

    async def has_chat(self, place: Place) -> bool:
        """Whether a chat of this place was told before."""
        if self._memory.last_chat(place) is not None:
            return True
        return await self._database.read(lambda c: chats.record_at(c, place)) is not None

    async def chat(self, chat: Chat, age: int | None) -> None:
        """The chat of a place, as it was told. `age`: of the memory when it was asked for; what
        has changed since then counts, and this does not. None: this counts."""
        if age is None:
            self._memory.changed()
        elif age != self._memory.age:
            return
        now = self._clock.now_ms()
        if chat != self._memory.last_chat(chat.place):
            found = await self._database.read(lambda c: chats.find(c, chat.place))
            if found != chat:
                await self._database.write(lambda c: told.chat(c, chat, now))
        if age is None or age == self._memory.age:
            self._memory.put_chat(chat)

    async def all_chats(
        self, account: UserId, found: Sequence[Chat], sessions: Sequence[Sequence[Session]]
    ) -> None:
        """All chats of an account, with all of their sessions: what else there was here goes."""
        now, surface = self._clock.now_ms(), self._surface
        await self._database.write(
            lambda c: told.all_chats(
                c, surface, account, list(zip(found, sessions, strict=True)), now
            )
        )
        self._memory.changed()

    async def is_warm(self) -> bool:
        """Whether all chats were looked through once."""
        return await self._database.read(lambda c: queue.mark(c, WARM)) is not None

    async def warm(self, found: Sequence[Chat]) -> None:
        """All chats of the surface: those that are not known here are, now."""
        now = self._clock.now_ms()
        await self._database.write(lambda c: told.unknown_chats(c, found, now))
        await self._database.write(lambda c: queue.set_mark(c, WARM, "true"))

    # --- sessions -------------------------------------------------------------------------------

    async def session_of(self, chat_id: ChatId, request_id: str) -> Session | None:
        """The session that a request has begun."""
        return await self._database.read(lambda c: told.session_of_request(c, chat_id, request_id))

    async def begun(self, made: Session, request_id: str) -> None:
        """A session that has begun, and is the current one of its chat."""
        now = self._clock.now_ms()
        await self._database.write(lambda c: told.begun(c, made, request_id, now))
        self._memory.changed()

    async def sessions(self, chat_id: ChatId, found: Sequence[Session]) -> None:
        """All sessions of a chat."""
        now = self._clock.now_ms()
        await self._database.write(lambda c: told.all_sessions(c, chat_id, found, now))

    async def changed_session(self, done: Changed) -> None:
        """A session after a change, and the one that is current now."""
        now = self._clock.now_ms()
        await self._database.write(lambda c: told.changed(c, done.session, done.current, now))
        self._memory.changed()

    async def retired(self, thread_id: ThreadId) -> ChatId | None:
        """A thread that must not be used; the chat that had it."""
        now = self._clock.now_ms()
        owner = await self._database.write(lambda c: told.retired(c, thread_id, now))
        self._memory.changed()
        return owner

    # --- people ---------------------------------------------------------------------------------

    async def is_new_person(self, user_id: UserId) -> bool:
        """Whether this person was never seen."""
        if self._memory.last_person(user_id) is not None:
            return False
        return not await self._database.read(lambda c: people.is_known(c, self._surface, user_id))

    async def person(self, scope: Scope, values: dict[str, Any], age: int) -> None:
        """What a person has set for themselves; `age` as of `chat`."""
        if age != self._memory.age:
            return
        user_id, now = UserId(scope.subject), self._clock.now_ms()
        if values != self._memory.last_person(user_id):
            known = await self._database.read(
                lambda c: (people.is_known(c, scope.surface, user_id), told.values_of(c, scope))
            )
            if known != (True, values):
                await self._database.write(lambda c: told.person(c, scope, values, now))
        if age == self._memory.age:
            self._memory.put_person(user_id, values)

    async def setting(self, scope: Scope, key: str, value: Any) -> None:
        """One setting of a person."""
        self._memory.changed()
        await self._database.write(lambda c: told.setting(c, scope, key, value))
