"""Roles, usage and what erasing a person comes to, as values that cross every seam."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from antiphon.core.ids import RoomId, RunId, ThreadId, UserId


class Role(StrEnum):
    """What a person may: everything, talk, nothing at all."""

    ADMIN = "admin"
    USER = "user"
    BLOCKED = "blocked"


class Grant(msgspec.Struct, frozen=True):
    """A role that was given while running (`!allow`, `!deny`, the control plane). `pattern`: a
    whole id or a glob of one (`@*:example.org`), as `core.access.AllowList` reads it."""

    pattern: str
    role: Role


class UsageEntry(msgspec.Struct, frozen=True):
    """What one run used; counted once by `run_id`, however often it is told. `seconds`: from its
    question to its answer."""

    run_id: RunId
    user_id: UserId
    room: RoomId
    at_ms: int
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0


class UsageSum(msgspec.Struct, frozen=True):
    """What was used since some time, by a person, in a room, or both."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens in and out together, which a day's limit counts."""
        return self.input_tokens + self.output_tokens


class Forgotten(msgspec.Struct, frozen=True):
    """What was erased of a person, and what the agent still has to erase: `threads` are those of
    chats that were theirs alone (to be deleted whole), `shared` those in which they may have
    spoken (to be rid of what they said)."""

    chats: int = 0
    settings: int = 0
    usage: int = 0
    threads: tuple[ThreadId, ...] = ()
    shared: tuple[ThreadId, ...] = ()
