"""Who, where and how, apart from the agent: the seam behind which chats, sessions and settings are
kept, locally (`prototype_state.LocalState`) or, later, by the control plane. No I/O here."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec

from antiphon.core.ids import ChatId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.sdk.interface import Chat, KeptChat, ResolvedSettings, Session

ScopeKind = Literal["platform", "surface", "room", "user"]

SCOPES: tuple[ScopeKind, ...] = ("platform", "surface", "room", "user")
"""From the widest to the narrowest; the narrower one wins, setting by setting."""


class Scope(msgspec.Struct, frozen=True):
    """Where a setting applies: everywhere, on a surface, in a room of it, or for a user of it.

    `surface` is empty for `platform`; `subject` is the room's or the user's id, else empty."""

    kind: ScopeKind
    surface: str = ""
    subject: str = ""


def scopes_of(place: Place, user_id: UserId) -> tuple[Scope, ...]:
    """The scopes that apply to what `user_id` asks in `place`, the widest first."""
    return (
        Scope("platform"),
        Scope("surface", place.surface),
        Scope("room", place.surface, place.room),
        Scope("user", place.surface, user_id),
    )


class State(Protocol):
    """Chats, sessions and settings. Every method is one transaction and is durable when it
    returns; all of them may be called at once, from several processes."""

    async def chat(self, place: Place) -> Chat:
        """The chat of a place; made, with a first session, when it is new. Calls at once for one
        place get one chat."""
        ...

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        """Begins another session and makes it current; the same `request_id` gives the same
        session again, and does not make it current again. Raises PlatformError
        (`unknown_chat`)."""
        ...

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        """The sessions of a chat whose memory was not forgotten, oldest first."""
        ...

    async def move_chat(self, old: Place, new: Place) -> None:
        """The chat of `old` goes on in `new`. Idempotent; does nothing where `old` has no chat or
        `new` has one already."""
        ...

    async def chats(self, surface: str, account: UserId) -> tuple[KeptChat, ...]:
        """The chats of an account of a surface, ordered by room."""
        ...

    async def forget_chat(self, place: Place) -> None:
        """Removes the chat of a place with its sessions, and retires their threads. Idempotent."""
        ...

    async def retire(self, thread_id: ThreadId) -> None:
        """Never uses the thread again, known or not: where it is a chat's current memory, another
        session begins. Idempotent."""
        ...

    async def is_retired(self, thread_id: ThreadId) -> bool:
        """Whether `retire` was called for it."""
        ...

    async def resolve(self, place: Place, user_id: UserId) -> ResolvedSettings:
        """What applies to a run that `user_id` asks for in `place`; notes the user."""
        ...

    async def set_setting(self, scope: Scope, key: str, value: Any) -> None:
        """Sets (or, with None, unsets) one setting in one scope. Raises SettingsError for an
        unknown key or a value that is not allowed; the message says what is."""
        ...

    async def settings(self, scope: Scope) -> dict[str, Any]:
        """What is set in this scope alone."""
        ...
