"""Matrix events as values, each parsed by itself: what can't be read becomes a Problem, never an
exception. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

MAX_TIMESTAMP_MS = 2**53 - 1
"""The largest integer that Matrix's canonical JSON allows."""


class Problem(msgspec.Struct, frozen=True):
    """Something that was skipped. `reason` is fit for a log line: it never quotes content."""

    reason: str
    room_id: str | None = None
    event_id: str | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of a room, as the homeserver gives it to a client.

    `origin_server_ts`: milliseconds since the epoch by the sender's homeserver; 0 when absent or
    malformed, since a message must not be lost for its timestamp. `state_key` is None for
    anything that is no state event. `content` is as it was sent: trust no shape in it."""

    event_id: str
    type: str
    sender: str
    content: dict[str, Any]
    origin_server_ts: int
    state_key: str | None = None
    unsigned: dict[str, Any] = {}
    redacts: str | None = None
    """Of a redaction: the event that it redacts (before room version 11 outside of content)."""
    sealed: bool = False
    """Whether it came encrypted and was decrypted: type and content are those inside."""

    @property
    def transaction_id(self) -> str | None:
        """The transaction id under which this very device sent the event; None for others."""
        value = self.unsigned.get("transaction_id")
        return value if isinstance(value, str) else None

    @property
    def redacted(self) -> bool:
        """Whether the homeserver says that the event was redacted (its content is gone then)."""
        return isinstance(self.unsigned.get("redacted_because"), dict)


class StrippedEvent(msgspec.Struct, frozen=True):
    """State of a room that we are invited to: no ids, no order, nothing that proves it."""

    type: str
    sender: str
    state_key: str
    content: dict[str, Any]


def parse_event(raw: object) -> Event | Problem:
    """The event in `raw` (any JSON value), or why there is none.

    Only what is needed is asked for: an object with text `event_id`, `type` and `sender` and an
    object `content`. Anything else malformed is read as absent."""
    if not isinstance(raw, dict):
        return Problem("the event is no object")
    event_id = raw.get("event_id")
    if not isinstance(event_id, str) or not event_id:
        return Problem("the event has no event_id")
    if "\x00" in event_id:
        return Problem("the event_id has a NUL in it")  # which PostgreSQL can't even look up
    kind = raw.get("type")
    sender = raw.get("sender")
    content = raw.get("content")
    if not isinstance(kind, str):
        return Problem("the event has no type", event_id=_short(event_id))
    if not isinstance(sender, str) or not sender:
        return Problem("the event has no sender", event_id=_short(event_id))
    if not isinstance(content, dict):
        return Problem("the event's content is no object", event_id=_short(event_id))
    state_key = raw.get("state_key")
    unsigned = raw.get("unsigned")
    return Event(
        event_id=event_id,
        type=kind,
        sender=sender,
        content=content,
        origin_server_ts=_timestamp(raw.get("origin_server_ts")),
        state_key=state_key if isinstance(state_key, str) else None,
        unsigned=unsigned if isinstance(unsigned, dict) else {},
        redacts=_redacts(raw, content) if kind == "m.room.redaction" else None,
    )


def parse_stripped(raw: object) -> StrippedEvent | Problem:
    """The stripped state event in `raw` (any JSON value), or why there is none."""
    if not isinstance(raw, dict):
        return Problem("the stripped event is no object")
    kind, sender, state_key, content = (
        raw.get(name) for name in ("type", "sender", "state_key", "content")
    )
    if not (isinstance(kind, str) and isinstance(sender, str) and isinstance(state_key, str)):
        return Problem("the stripped event lacks type, sender or state_key")
    if not isinstance(content, dict):
        return Problem("the stripped event's content is no object")
    return StrippedEvent(kind, sender, state_key, content)


def parse_events(
    raw: object, room_id: str | None, section: str
) -> tuple[tuple[Event, ...], tuple[Problem, ...]]:
    """The readable events of a list (any JSON value; null and absent are an empty list), in
    order, and a Problem for each other entry, or for the whole `section` if it is no list."""
    if raw is None:
        return (), ()
    if not isinstance(raw, list):
        return (), (Problem(f"{section} is no list", room_id),)
    parsed = [parse_event(item) for item in raw]
    events = tuple(item for item in parsed if isinstance(item, Event))
    return events, located(parsed, room_id)


def located(parsed: Sequence[object], room_id: str | None) -> tuple[Problem, ...]:
    """The problems among parsed things, with their room."""
    return tuple(
        msgspec.structs.replace(item, room_id=room_id)
        for item in parsed
        if isinstance(item, Problem)
    )


def _redacts(raw: dict[str, Any], content: dict[str, Any]) -> str | None:
    for value in (content.get("redacts"), raw.get("redacts")):
        if isinstance(value, str):
            return value
    return None


def _timestamp(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TIMESTAMP_MS:
        return value
    return 0


def _short(event_id: str) -> str:
    return event_id[:255]
