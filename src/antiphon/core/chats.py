"""Chats and their sessions as values that cross every seam."""

from __future__ import annotations

import msgspec

from antiphon.core.ids import ChatId, SessionId, ThreadId
from antiphon.core.model import Place


class Session(msgspec.Struct, frozen=True):
    """One memory of a chat, named at the agent by `thread_id` (random, minted by the sdk).

    `number`: counts the chat's sessions from 1, never used again; `title`: given by a person;
    `archived`: out of sight until it is switched to again."""

    session_id: SessionId
    chat_id: ChatId
    thread_id: ThreadId
    started_ms: int
    number: int = 1
    title: str = ""
    archived: bool = False


class Chat(msgspec.Struct, frozen=True):
    """One conversation as we see it, with its current session."""

    chat_id: ChatId
    place: Place
    session: Session


class KeptChat(msgspec.Struct, frozen=True):
    """A chat that is kept, with the threads of all its sessions, forgotten ones too."""

    place: Place
    threads: tuple[ThreadId, ...]
