"""`LocalState`: users, chats, sessions and settings kept by the surface itself, in its own store
(`state.db`), until a control plane keeps them. Implements `state.State`; talks to no agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from antiphon import records
from antiphon.clock import Chance, Clock
from antiphon.core.chat_settings import ChatSettings, check, merge
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope, scopes_of
from antiphon.db import Database
from antiphon.db.peek import peek
from antiphon.records import chats as rows

MIGRATIONS = Path(records.__file__).parent / "migrations"


class LocalState:
    """The `State` of a surface that works with the agent alone. Made by `open`."""

    def __init__(self, database: Database, clock: Clock, chance: Chance):
        self._database = database
        self._clock = clock
        self._chance = chance

    @classmethod
    async def open(cls, url: str, *, clock: Clock, chance: Chance) -> LocalState:
        """Opens and migrates the database at `url`; raises what `Database.open` raises."""
        return cls(await Database.open(url, MIGRATIONS), clock, chance)

    async def close(self) -> None:
        """Waits for running transactions; idempotent."""
        await self._database.close()

    async def chat(self, place: Place) -> Chat:
        known = await self._database.read(lambda connection: rows.find_chat(connection, place))
        if known is not None:
            return known
        mint, now = self._chance.token, self._clock.now_ms()
        return await self._database.write(
            lambda connection: rows.make_chat(connection, place, mint, now)
        )

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        mint, now = self._chance.token, self._clock.now_ms()
        return await self._database.write(
            lambda connection: rows.make_session(connection, chat_id, request_id, mint, now)
        )

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        return await self._database.read(lambda connection: rows.list_sessions(connection, chat_id))

    async def move_chat(self, old: Place, new: Place) -> None:
        await self._database.write(lambda connection: rows.move_chat(connection, old, new))

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]:
        return await self._database.read(
            lambda connection: rows.list_chats(connection, surface, account)
        )

    async def forget_chat(self, place: Place) -> None:
        now = self._clock.now_ms()
        await self._database.write(lambda connection: rows.forget_chat(connection, place, now))

    async def retire(self, thread_id: ThreadId) -> None:
        mint, now = self._chance.token, self._clock.now_ms()
        await self._database.write(lambda connection: rows.retire(connection, thread_id, mint, now))

    async def is_retired(self, thread_id: ThreadId) -> bool:
        return await self._database.read(lambda connection: rows.is_retired(connection, thread_id))

    async def resolve(self, place: Place, user_id: UserId) -> ChatSettings:
        scopes, surface, now = scopes_of(place, user_id), place.surface, self._clock.now_ms()
        known = await self._database.read(
            lambda connection: rows.is_known_user(connection, surface, user_id)
        )
        if not known:
            await self._database.write(
                lambda connection: rows.note_user(connection, surface, user_id, now)
            )
        found = await self._database.read(lambda connection: rows.read_settings(connection, scopes))
        return merge((scope, key, msgspec.json.decode(value)) for scope, key, value in found)

    async def set_setting(self, scope: Scope, key: str, value: Any) -> None:
        text = msgspec.json.encode(None if value is None else check(key, value)).decode()
        stored = None if value is None else text
        await self._database.write(
            lambda connection: rows.write_setting(connection, scope, key, stored)
        )

    async def settings(self, scope: Scope) -> dict[str, Any]:
        found = await self._database.read(
            lambda connection: rows.read_settings(connection, (scope,))
        )
        return {key: msgspec.json.decode(value) for _, key, value in found}


async def kept_chats(url: str, surface: str, account: UserId) -> tuple[KeptChat, ...]:
    """As `LocalState.chats`, of a database that is only looked at and may not be there. Raises what
    `antiphon.db.peek.peek` raises."""
    found = await peek(
        url, MIGRATIONS, lambda connection: rows.list_chats(connection, surface, account)
    )
    return found or ()
