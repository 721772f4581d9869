"""The rows of the records as frozen values, with what the control plane needs beyond `core`: when a
thing was made, how often it changed. `version` counts a thing's changes, from 1."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.core.chats import Session
from antiphon.core.ids import ChatId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Role, UsageSum
from antiphon.core.scopes import Scope


class ChatRecord(msgspec.Struct, frozen=True):
    """A chat with its current session."""

    chat_id: ChatId
    place: Place
    session: Session
    created_ms: int
    title: str = ""
    archived: bool = False
    version: int = 1


class SessionRecord(msgspec.Struct, frozen=True):
    """A session; `current`: it is the one that its chat remembers in now."""

    session: Session
    current: bool
    version: int = 1


class UserRecord(msgspec.Struct, frozen=True):
    """A person who was seen or made known. `role`: what was given to their very id."""

    surface: str
    user_id: UserId
    first_seen_ms: int
    name: str = ""
    role: Role | None = None
    version: int = 1


class SettingRecord(msgspec.Struct, frozen=True):
    """One setting in one scope; `value` as JSON gives it."""

    scope: Scope
    key: str
    value: Any
    version: int = 1


class RoleRecord(msgspec.Struct, frozen=True):
    """A role that a pattern has."""

    pattern: str
    role: Role
    version: int = 1


class UsageDay(msgspec.Struct, frozen=True):
    """What was used on one day (UTC), `day` as `2026-11-22`."""

    day: str
    used: UsageSum


class AuditRecord(msgspec.Struct, frozen=True):
    """Who changed what, and when. `detail`: never what somebody wrote."""

    seq: int
    at_ms: int
    surface: str
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class Debt(msgspec.Struct, frozen=True):
    """What the agent still has to erase: what `author` said in a thread; None: the whole thread."""

    surface: str
    thread_id: ThreadId
    author: UserId | None
    at_ms: int


class Pruned(msgspec.Struct, frozen=True):
    """How many old rows were removed."""

    usage: int = 0
    audit: int = 0
    requests: int = 0
    erasures: int = 0
