"""The platform as a surface gets it: the state and the agent behind `sdk.interface.Platform`.

`open_platform` is the composition: the state is the surface's own or a control plane's, and no
surface sees the difference."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import ErrorCode
from antiphon.clock import Chance, Clock
from antiphon.core.ids import ChatId, RoomId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import (
    AgentProtocolError,
    AgentUnreachableError,
    AntiphonError,
    PlatformError,
)
from antiphon.sdk.agent_session import AgentSession, refusal
from antiphon.sdk.file_settings import base_of
from antiphon.sdk.interface import (
    Chat,
    ChatSettings,
    Forgotten,
    KeptChat,
    PlatformHealth,
    Progress,
    Role,
    Rules,
    Run,
    Scope,
    Session,
    StateHealth,
    UsageEntry,
    UsageSum,
)
from antiphon.sdk.memories import Memories
from antiphon.sdk.prototype_state import kept_chats
from antiphon.sdk.remote_look import kept_there
from antiphon.sdk.remote_state import STORE
from antiphon.sdk.state import State
from antiphon.sdk.state_opening import is_remote, open_state, state_url
from antiphon.settings import AgentSettings, ChatFileSettings, General, MasterSettings
from antiphon.telemetry import logger

GONE = frozenset({ErrorCode.THREAD_GONE})
"""Refusals that mean that what was to be undone is not there any more."""


class Platform:
    """Implements `sdk.interface.Platform`. `surface` is the name under which this surface's
    places are kept; a place of another one is refused."""

    def __init__(self, state: State, client: AgentClient, session: AgentSession, *, surface: str):
        self._state = state
        self._client = client
        self._session = session
        self._surface = surface
        self._memories = Memories(client)

    @property
    def state(self) -> State:
        """Where chats and settings are kept, for what goes beyond the interface."""
        return self._state

    async def chat(self, place: Place) -> Chat:
        self._own(place)
        return await self._state.chat(place)

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        return await self._state.new_session(chat_id, request_id)

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        return await self._state.sessions(chat_id)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._state.switch_session(chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        return await self._state.rename_session(chat_id, session_id, title, request_id)

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._state.archive_session(chat_id, session_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        self._own(old)
        self._own(new)
        await self._state.move_chat(old, new)

    async def chats(self, account: UserId) -> tuple[KeptChat, ...]:
        return await self._state.chats(self._surface, account)

    async def forget_chat(self, place: Place) -> None:
        self._own(place)
        await self._state.forget_chat(place)

    async def resolve(self, chat: Chat, user_id: UserId) -> ChatSettings:
        return await self._state.resolve(chat.place, user_id)

    async def rules(self) -> Rules:
        return await self._state.rules()

    async def rules_after(self, version: str) -> Rules:
        return await self._state.rules_after(version)

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        await self._state.set_setting(scope, key, value, by=by, request_id=request_id)

    async def settings(self, scope: Scope) -> dict[str, Any]:
        return await self._state.settings(scope)

    async def models(self) -> tuple[str, ...]:
        try:
            return (await self._client.models()).allowed
        except AgentProtocolError as error:
            if error.code == ErrorCode.UNKNOWN_TYPE:
                return ()  # An older agent, which does not say.
            raise

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        await self._state.set_role(pattern, role, by=by, request_id=request_id)

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        await self._state.record_usage(entries)

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        return await self._state.usage(since_ms=since_ms, user_id=user_id, room=room)

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        return await self._state.forget_user(user_id, request_id)

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        return await self._state.export_user(user_id)

    async def state_health(self) -> StateHealth:
        return await self._state.health()

    async def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        if await self._state.is_retired(run.thread_id):
            gone = AgentProtocolError("The thread was forgotten.", code=ErrorCode.THREAD_GONE)
            raise refusal(gone)
        async with aclosing(self._session.answer(run)) as progress:
            async for now in progress:
                yield now

    async def cancel(self, thread_id: ThreadId, run_id: RunId) -> None:
        await self._owed(self._client.cancel(thread_id, run_id))

    async def withdraw(self, thread_id: ThreadId, run_id: RunId) -> None:
        await self._owed(self._client.withdraw(thread_id, run_id))

    async def forget(self, thread_id: ThreadId) -> None:
        await self._state.retire(thread_id)
        await self._owed(self._client.delete(thread_id))

    async def erase_author(self, thread_id: ThreadId, user_id: UserId) -> None:
        await self._owed(self._client.erase_author(thread_id, user_id))

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        return await self._memories.export_thread(thread_id)

    async def import_thread(self, thread_id: ThreadId, archive: bytes) -> None:
        if await self._state.is_retired(thread_id):
            raise AgentProtocolError("The thread was forgotten.", code=ErrorCode.THREAD_GONE)
        await self._memories.import_thread(thread_id, archive)

    async def check(self) -> PlatformHealth:
        try:
            await self._client.check()
        except AntiphonError as error:
            return PlatformHealth(ok=False, detail=error.message, code=error.code)
        return PlatformHealth(ok=True, detail=f"The agent at {self._client.url} answers.")

    def _own(self, place: Place) -> None:
        if place.surface != self._surface:
            raise PlatformError(
                f"A place of {place.surface!r} does not belong to the surface {self._surface!r}.",
                code="wrong_surface",
            )

    async def _owed(self, verb: Awaitable[object]) -> None:
        """Waits for what ends or erases something; that it is gone already is as good."""
        try:
            await verb
        except AgentProtocolError as error:
            if error.code in GONE:
                return
            if error.retryable or error.code == ErrorCode.SHUTTING_DOWN:
                raise AgentUnreachableError(
                    f"The agent can't do this now ({error.code}): {error.message}"
                ) from error
            raise


@asynccontextmanager
async def open_platform(
    general: General,
    agent: AgentSettings,
    *,
    answer_timeout_s: float,
    surface: str,
    clock: Clock,
    chance: Chance,
    database: str = "",
    chat: ChatFileSettings | None = None,
    master: MasterSettings | None = None,
) -> AsyncIterator[Platform]:
    """The platform of a surface; closed when the block ends. With `master` whose `url` is set a
    control plane keeps users, chats and settings, else the surface works with the agent alone.

    `agent`: `url` and `token` are used. `answer_timeout_s`: seconds without any sign of the agent
    for a run. `database`: URL of the state, by default `state.db` in the state folder, which must
    be there. `chat`: what the settings file says about chats. Neither the agent nor the control
    plane need run yet. Raises SettingsError (address, token, a value of `chat`), StateError, and
    MasterRefusedError (the control plane does not accept our token)."""
    log, base = logger("sdk.agent"), None if chat is None else base_of(chat)

    def on_change(trouble: AntiphonError | None) -> None:
        if trouble is None:
            log.info("agent_connected")
        else:
            log.warning("agent_lost", code=trouble.code, why=trouble.message)

    client = AgentClient(
        agent.url, agent.token.reveal(), clock=clock, chance=chance, on_change=on_change
    )
    opened = open_state(
        general,
        master,
        surface=surface,
        base=base,
        clock=clock,
        chance=chance,
        database=database,
    )
    async with opened as state, client:
        session = AgentSession(
            client, answer_timeout_s=answer_timeout_s, clock=clock, chance=chance
        )
        yield Platform(state, client, session, surface=surface)


async def look_at_chats(
    general: General,
    surface: str,
    account: UserId,
    *,
    database: str = "",
    master: MasterSettings | None = None,
) -> tuple[KeptChat, ...]:
    """As `Platform.chats`, without opening, making or changing anything. A control plane is asked;
    what it told before counts where it is away. Raises SettingsError, MasterRefusedError, and what
    `antiphon.db.peek.peek` raises."""
    url = state_url(general.state_path(), master, database)
    if master is None or not is_remote(master):
        return await kept_chats(url, surface, account)
    found = await kept_there(master, surface, account)
    if found is None:
        return await kept_chats(url, surface, account, store=STORE)
    return found
