"""`LocalState`: users, chats, sessions, settings, roles and usage kept by the surface itself, in
its own store (`state.db`), where no control plane keeps them. Implements `state.State` over
`antiphon.records`; talks to no agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.clock import Chance, Clock
from antiphon.core.chat_settings import ChatSettings
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.db import Database
from antiphon.db.peek import peek
from antiphon.errors import AntiphonError, PlatformError
from antiphon.records import chats as rows
from antiphon.records.records import MIGRATIONS, NO_BASE, Records, Transactions
from antiphon.records.retention import Horizon
from antiphon.sdk.interface import StateHealth

DAY_MS = 86_400_000
KEPT_DAYS = {"usage": 400, "audit": 400, "requests": 60, "erasures": 400}
"""How long rows of these kinds stay in a surface's own store; looked at when it is opened."""


def horizon(now_ms: int) -> Horizon:
    """What is old enough to go."""
    ends = {f"{kind}_ms": now_ms - days * DAY_MS for kind, days in KEPT_DAYS.items()}
    return Horizon(**ends)


class LocalState:
    """The `State` of one surface that works with the agent alone. Made by `open`. `base`: what the
    settings file says about chats, the widest layer of settings."""

    def __init__(
        self,
        database: Transactions,
        clock: Clock,
        chance: Chance,
        *,
        surface: str = "matrix",
        base: Mapping[str, Any] = NO_BASE,
    ):
        self._records = Records(database, clock, chance)
        self._surface = surface
        self._base = base

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        chance: Chance,
        surface: str = "matrix",
        base: Mapping[str, Any] | None = None,
    ) -> LocalState:
        """Opens and migrates the database at `url`, lets go of what is older than `KEPT_DAYS`, and
        follows what the settings file says of isolation (`base`; None: it was not read). Raises
        what `Database.open` raises."""
        database = await Database.open(url, MIGRATIONS)
        state = cls(database, clock, chance, surface=surface, base=base or NO_BASE)
        try:
            await state._records.begin(surface, base, horizon(clock.now_ms()))
        except BaseException:
            await database.close()
            raise
        return state

    async def close(self) -> None:
        """Waits for running transactions; idempotent."""
        await self._records.database.close()

    # --- chats and sessions ---------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        return await self._records.chat(place)

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        return await self._records.new_session(self._surface, chat_id, request_id)

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        return await self._records.sessions(self._surface, chat_id)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._records.switch_session(self._surface, chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        return await self._records.rename_session(
            self._surface, chat_id, session_id, title, request_id
        )

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._records.archive_session(self._surface, chat_id, session_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        await self._records.move_chat(old, new, self._base)

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]:
        return await self._records.chats(surface, account)

    async def forget_chat(self, place: Place) -> None:
        await self._records.forget_chat(place)

    async def retire(self, thread_id: ThreadId) -> None:
        await self._records.retire(self._surface, thread_id)

    async def is_retired(self, thread_id: ThreadId) -> bool:
        return await self._records.is_retired(thread_id)

    # --- settings, roles, rules -----------------------------------------------------------------

    async def resolve(self, place: Place, user_id: UserId) -> ChatSettings:
        return await self._records.resolve(place, user_id, self._base)

    async def rules(self) -> Rules:
        return await self._records.rules(self._surface, self._base)

    async def rules_after(self, version: str) -> Rules:
        return await self._records.rules_after(self._surface, version, self._base)

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        if scope.surface not in ("", self._surface):
            raise PlatformError("This scope is another surface's.", code="wrong_surface")
        await self._records.set_setting(
            scope,
            key,
            value,
            by=by,
            request_id=request_id,
            surface=self._surface,
            base=self._base,
        )

    async def settings(self, scope: Scope) -> dict[str, Any]:
        return await self._records.settings(scope)

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        await self._records.set_role(self._surface, pattern, role, by=by, request_id=request_id)

    # --- usage and people -----------------------------------------------------------------------

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        await self._records.record_usage(self._surface, entries)

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        return await self._records.usage(
            self._surface, since_ms=since_ms, user_id=user_id, room=room
        )

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        return await self._records.forget_user(self._surface, user_id, request_id)

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        return await self._records.export_user(self._surface, user_id)

    async def health(self) -> StateHealth:
        try:
            await self._records.rules(self._surface, self._base)
        except AntiphonError as error:
            return StateHealth(remote=False, ok=False, detail=error.message)
        return StateHealth(
            remote=False, ok=True, detail="Users and chats are kept on this machine."
        )


async def kept_chats(
    url: str, surface: str, account: UserId, *, store: str = ""
) -> tuple[KeptChat, ...]:
    """As `LocalState.chats`, of a database that is only looked at and may not be there. `store`:
    whose it is, where it is no local state. Raises what `antiphon.db.peek.peek` raises."""
    found = await peek(
        url, MIGRATIONS, lambda connection: rows.kept(connection, surface, account), store=store
    )
    return found or ()


__all__ = ["MIGRATIONS", "LocalState", "kept_chats"]
