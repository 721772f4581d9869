"""Chats and sessions as the HTTP API takes and gives them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from antiphon.core.chats import Session as CoreSession
from antiphon.core.ids import EventId, RoomId, UserId
from antiphon.core.model import Place as CorePlace
from antiphon.master.shapes.common import Count, Given, Id, Key, PageAsked, Taken, ThreadKey, Title
from antiphon.records.values import ChatRecord, SessionRecord

CHAT_ID: Final = "hN0v5cYwz1xQWm3rT8kLpA2sD4fG6jE9"
SESSION_ID: Final = "b7RkX2mQ9vLs4TzN1wYpC6hJ3dF8gA5e"
THREAD_ID: Final = "Zq3Lw8Rt5Vn2Xk7Mj4Hs9Pd1Bf6Gc0Ya"
STARTED_MS: Final = 1_795_000_000_000
"""What examples show."""


class PlaceTaken(Taken):
    """Where a chat is: a room, a thread in it (`thread_root`), or one person in it (`user`).
    `account` is the bot's own id there."""

    account: Id = Field(examples=["@bot:example.org"])
    room: Id = Field(examples=["!room:example.org"])
    thread_root: Id | None = None
    user: Id | None = None

    def of(self, surface: str) -> CorePlace:
        """The place on a surface."""
        return CorePlace(
            surface=surface,
            account=UserId(self.account),
            room=RoomId(self.room),
            thread_root=None if self.thread_root is None else EventId(self.thread_root),
            user=None if self.user is None else UserId(self.user),
        )


class MintedSession(Taken):
    """A session that the surface had to begin by itself, while we were away."""

    session_id: Key
    thread_id: ThreadKey
    started_ms: Count


class Adopted(Taken):
    """A chat that the surface had to make by itself: taken over as it is, if its ids are unused and
    its place has no other chat (409 otherwise, with the one that is kept)."""

    chat_id: Key
    session: MintedSession


class MakeChat(Taken):
    """The chat of a place, made where there is none."""

    place: PlaceTaken
    adopt: Adopted | None = None


class PatchChat(Taken):
    """What changes; what is left out stays."""

    title: Title | None = None
    archived: bool | None = None


class MoveChat(Taken):
    """The place in which the chat goes on."""

    place: PlaceTaken


class BeginSession(Taken):
    """Another session; `session`: with ids that the surface made up by itself."""

    session: MintedSession | None = None


class PatchSession(Taken):
    """What changes; what is left out stays. `current`: it is the chat's memory from now on."""

    title: Title | None = None
    archived: bool | None = None
    current: bool | None = Field(None, description="Only `true` can be asked for.")


class ChatsAsked(PageAsked):
    """Which chats: those that fit all of this."""

    account: Id | None = None
    room: Id | None = None
    user: Id | None = Field(None, description="Chats that are this person's alone.")
    archived: bool | None = None


class PlaceGiven(Given):
    """Where a chat is."""

    surface: str = Field(examples=["matrix"])
    account: str = Field(examples=["@bot:example.org"])
    room: str = Field(examples=["!room:example.org"])
    thread_root: str | None = Field(examples=[None])
    user: str | None = Field(examples=[None])


class SessionGiven(Given):
    """One memory of a chat."""

    session_id: str = Field(examples=[SESSION_ID])
    chat_id: str = Field(examples=[CHAT_ID])
    thread_id: str = Field(examples=[THREAD_ID])
    started_ms: int = Field(examples=[STARTED_MS])
    number: int = Field(description="Counts the chat's sessions from 1.", examples=[1])
    title: str = Field(examples=["The boat"])
    archived: bool = Field(examples=[False])
    current: bool = Field(examples=[True])
    version: int = Field(examples=[1])


class ChatSession(Given):
    """A chat's current memory."""

    session_id: str = Field(examples=[SESSION_ID])
    chat_id: str = Field(examples=[CHAT_ID])
    thread_id: str = Field(examples=[THREAD_ID])
    started_ms: int = Field(examples=[STARTED_MS])
    number: int = Field(examples=[1])
    title: str = Field(examples=["The boat"])
    archived: bool = Field(examples=[False])


class ChatGiven(Given):
    """A conversation with its current session."""

    chat_id: str = Field(examples=[CHAT_ID])
    place: PlaceGiven
    session: ChatSession
    title: str = Field(examples=[""])
    archived: bool = Field(examples=[False])
    created_ms: int = Field(examples=[STARTED_MS])
    version: int = Field(examples=[2])


class SessionChanged(Given):
    """The session as it is now (null: deleted), and the one that is current now."""

    session: SessionGiven | None
    current: SessionGiven


class ThreadGiven(Given):
    """Whether a thread may never be used again."""

    retired: bool


def chat(record: ChatRecord) -> ChatGiven:
    """A chat as it goes out."""
    place, session = record.place, record.session
    return ChatGiven(
        chat_id=record.chat_id,
        place=PlaceGiven(
            surface=place.surface,
            account=place.account,
            room=place.room,
            thread_root=place.thread_root,
            user=place.user,
        ),
        session=ChatSession(**_plain(session)),
        title=record.title,
        archived=record.archived,
        created_ms=record.created_ms,
        version=record.version,
    )


def session(record: SessionRecord) -> SessionGiven:
    """A session as it goes out."""
    return SessionGiven(**_plain(record.session), current=record.current, version=record.version)


def _plain(found: CoreSession) -> dict[str, Any]:
    return {name: getattr(found, name) for name in CoreSession.__struct_fields__}
