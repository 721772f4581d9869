"""Who, where and how, apart from the agent: the seam behind which users, chats, sessions, settings,
roles and usage are kept, locally (`prototype_state.LocalState`) or by the control plane
(`remote_state.RemoteState`). No I/O here."""

from __future__ import annotations

from typing import Any, Protocol

from antiphon.core.chat_settings import ChatSettings
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.sdk.interface import StateHealth


class State(Protocol):
    """All that `sdk.interface.Platform` promises apart from the agent, for the one surface that it
    was opened for. Every method is one transaction and is durable when it returns; all of them may
    be called at once, from several processes. Docstrings here say only what is more than there."""

    async def chat(self, place: Place) -> Chat:
        """Calls at once for one place get one chat. A chat whose room's isolation changed begins
        another session here."""
        ...

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        """The same `request_id` gives the same session again and does not make it current."""
        ...

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]: ...

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session: ...

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session: ...

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session: ...

    async def move_chat(self, old: Place, new: Place) -> None:
        """The settings of the old room go along, where the new one has none."""
        ...

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]: ...

    async def forget_chat(self, place: Place) -> None:
        """Removes the chat of a place with its sessions, and retires their threads."""
        ...

    async def retire(self, thread_id: ThreadId) -> None:
        """Never uses the thread again, known or not: where it is a chat's current memory, another
        session begins. Idempotent."""
        ...

    async def is_retired(self, thread_id: ThreadId) -> bool:
        """Whether `retire` was called for it."""
        ...

    async def resolve(self, place: Place, user_id: UserId) -> ChatSettings:
        """What applies to a run that `user_id` asks for in `place`; notes the user."""
        ...

    async def rules(self) -> Rules: ...

    async def rules_after(self, version: str) -> Rules: ...

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None: ...

    async def settings(self, scope: Scope) -> dict[str, Any]: ...

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None: ...

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None: ...

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum: ...

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten: ...

    async def export_user(self, user_id: UserId) -> dict[str, Any]: ...

    async def health(self) -> StateHealth: ...

    async def close(self) -> None:
        """Waits for what is under way; idempotent."""
        ...
