"""The nouns of `docs/glossary.md` as frozen values: what was asked, where, what became of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from antiphon.core.ids import EventId, RoomId, UserId


class Place(msgspec.Struct, frozen=True):
    """Where a chat happens: a room of a surface, a thread in it, or one user in it.

    `account` is the bot's own id there. Which of `thread_root` and `user` are set is decided by
    the room's isolation setting; two places are one chat only when all fields are equal.
    """

    surface: str
    account: UserId
    room: RoomId
    thread_root: EventId | None = None
    user: UserId | None = None


class Said(msgspec.Struct, frozen=True):
    """One message that a person said: who (by id, never by display name), and what."""

    author: UserId
    text: str


class TurnState(StrEnum):
    """`queued → running (→ waiting) → answered`, then how it ended.

    `answered` means that the text is fixed and frozen in the outbox."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    ANSWERED = "answered"
    DELIVERED = "delivered"
    UNDELIVERABLE = "undeliverable"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"


OPEN_STATES = frozenset(
    {TurnState.QUEUED, TurnState.RUNNING, TurnState.WAITING, TurnState.ANSWERED}
)
"""States in which something is still owed to the person who asked."""
