"""From a Matrix event to what it means for us: pure, tolerant of everything that is not needed.

Homeservers and federation let broken events through (measured: a non-object `m.relates_to`, a
string for a timestamp), so nothing here trusts a shape.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.adapter.matrix.marks import mark_of
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, TurnId, UserId, opened_by

LONGEST_SESSION_ID = 255

MOST_MENTIONS = 200

FILE_TYPES = ("m.image", "m.file", "m.audio", "m.video", "m.location")


class Question(msgspec.Struct, frozen=True):
    """A person's message that may want an answer. `thread_root` is the Matrix thread it stands in;
    `mentions` as `m.mentions` names people, None where it says nothing; `replies_to`: the event
    that the person chose to reply to; `marked`: it says of itself that a bot of our kind wrote
    it."""

    event_id: EventId
    sender: UserId
    text: str
    thread_root: EventId | None = None
    mentions: tuple[str, ...] | None = None
    replies_to: EventId | None = None
    marked: bool = False


class FileSent(msgspec.Struct, frozen=True):
    """A person's message that is a file, an image, a place; the rest as in `Question`."""

    event_id: EventId
    sender: UserId
    thread_root: EventId | None = None
    mentions: tuple[str, ...] | None = None
    replies_to: EventId | None = None
    marked: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """An encrypted message of a person, perhaps an edit; `session_id`: whose key would open it."""

    event_id: EventId
    sender: UserId
    thread_root: EventId | None = None
    session_id: str = ""
    edit: bool = False


class Skipped(msgspec.Struct, frozen=True):
    """Nothing to answer. `reason` is for the log; `expected` tells everyday skips (own events,
    notices, edits) from broken events."""

    reason: str
    expected: bool = True


class Edited(msgspec.Struct, frozen=True):
    """A person's edit of their message `target`; `text` is its new text."""

    event_id: EventId
    sender: UserId
    target: EventId
    text: str


class Redacted(msgspec.Struct, frozen=True):
    """Somebody (we too) redacted `target`."""

    event_id: EventId
    sender: UserId
    target: EventId


class OwnAnswer(msgspec.Struct, frozen=True):
    """An event of an answer of ours, as its mark says; `edits` is the root that it edits.
    `redacted`: it opened a part and its content is gone, mark and all; its transaction id, which
    the homeserver shows to the device that sent it, says which part. `sealed`: it is encrypted."""

    event_id: EventId
    turn_id: TurnId
    part: int
    final: bool
    last: bool
    revision: int
    edits: EventId | None
    ts: int
    redacted: bool = False
    sealed: bool = False


Reading = Question | FileSent | Unreadable | Edited | Redacted | OwnAnswer | Skipped


def read_event(event: Event, me: UserId) -> Reading:
    """What a timeline event means. Never raises."""
    if event.state_key is not None:
        return Skipped("a state event")
    sender, event_id = UserId(event.sender), EventId(event.event_id)
    if event.type == "m.room.redaction":
        if event.redacts is None:
            return Skipped("a redaction of nothing", expected=False)
        return Redacted(event_id, sender, EventId(event.redacts))
    if sender == me:
        return _own(event)
    root = thread_root(event.content)
    if event.type == "m.room.encrypted":
        session = event.content.get("session_id")
        return Unreadable(
            event_id,
            sender,
            root,
            session_id=session[:LONGEST_SESSION_ID] if isinstance(session, str) else "",
            edit=replaces(event.content) is not None,
        )
    if event.type != "m.room.message":
        return Skipped(f"type {event.type[:60]}")
    if not event.content:
        return Skipped("redacted")
    target = replaces(event.content)
    if target is not None:
        return _edit(event, target)
    msgtype = event.content.get("msgtype")
    if msgtype == "m.notice":
        return Skipped("a notice")
    if msgtype == "m.key.verification.request":
        return Skipped("a request for a verification")
    if msgtype in FILE_TYPES:
        return FileSent(event_id, sender, root, **_addressing(event.content))
    if msgtype not in ("m.text", "m.emote"):
        return Skipped("a message of unknown msgtype", expected=False)
    body = event.content.get("body")
    if not isinstance(body, str):
        return Skipped("a message without a body", expected=False)
    text = _without_reply_fallback(body) if _replies(event.content) else body
    text = _plain(text)
    if not text:
        return Skipped("an empty message")
    return Question(event_id, sender, text, root, **_addressing(event.content))


def _own(event: Event) -> OwnAnswer | Skipped:
    opened = opened_by(event.transaction_id or "") if event.redacted else None
    if opened is not None:
        return OwnAnswer(
            event_id=EventId(event.event_id),
            turn_id=opened[0],
            part=opened[1],
            final=False,
            last=False,
            revision=0,
            edits=None,
            ts=event.origin_server_ts,
            redacted=True,
        )
    mark = mark_of(event.content)
    part, revision = (mark.get(name) for name in ("part", "revision")) if mark else (None, None)
    if mark is None or not isinstance(part, int) or not isinstance(revision, int):
        return Skipped("our own")
    return OwnAnswer(
        event_id=EventId(event.event_id),
        turn_id=TurnId(mark["turn"]),
        part=part,
        final=mark.get("state") == "final",
        last=mark.get("last") is True,
        revision=revision,
        edits=replaces(event.content),
        ts=event.origin_server_ts,
        sealed=event.type == "m.room.encrypted",
    )


def _edit(event: Event, target: EventId) -> Edited | Skipped:
    new = event.content.get("m.new_content")
    body = new.get("body") if isinstance(new, dict) else None
    if not isinstance(new, dict) or not isinstance(body, str):
        return Skipped("an edit without a new text", expected=False)
    if new.get("msgtype") not in ("m.text", "m.emote"):
        return Skipped("an edit to something else than text")
    text = _plain(body)
    if not text:
        return Skipped("an edit to nothing")
    return Edited(EventId(event.event_id), UserId(event.sender), target, text)


def _plain(body: str) -> str:
    return body.replace("\x00", "").strip()  # PostgreSQL stores no NUL


def relates_to(content: dict[str, Any]) -> dict[str, Any]:
    """`m.relates_to`, or an empty table where there is none or it is no object."""
    relation = content.get("m.relates_to")
    return relation if isinstance(relation, dict) else {}


def replaces(content: dict[str, Any]) -> EventId | None:
    """The event that this one edits (`m.replace`), if any."""
    relation = relates_to(content)
    target = relation.get("event_id")
    if relation.get("rel_type") == "m.replace" and isinstance(target, str):
        return EventId(target)
    return None


def thread_root(content: dict[str, Any]) -> EventId | None:
    """The root of the Matrix thread that this event stands in, if any."""
    relation = relates_to(content)
    target = relation.get("event_id")
    if relation.get("rel_type") == "m.thread" and isinstance(target, str) and len(target) <= 255:
        return EventId(target)
    return None


def _addressing(content: dict[str, Any]) -> dict[str, Any]:
    """Whom a message says that it is for."""
    mentions = content.get("m.mentions")
    named: tuple[str, ...] | None = None
    if isinstance(mentions, dict):
        users = mentions.get("user_ids")
        found = users[:MOST_MENTIONS] if isinstance(users, list) else []
        named = tuple(user for user in found if isinstance(user, str))
    return {
        "mentions": named,
        "replies_to": _replies_to(content),
        "marked": mark_of(content) is not None,
    }


def _replies_to(content: dict[str, Any]) -> EventId | None:
    """The event that a person chose to reply to: not the one that a client names in a thread for
    the sake of old clients."""
    relation = relates_to(content)
    reply = relation.get("m.in_reply_to")
    target = reply.get("event_id") if isinstance(reply, dict) else None
    if relation.get("rel_type") == "m.thread" and relation.get("is_falling_back") is True:
        return None
    return EventId(target) if isinstance(target, str) and len(target) <= 255 else None


def _replies(content: dict[str, Any]) -> bool:
    return isinstance(relates_to(content).get("m.in_reply_to"), dict)


def _without_reply_fallback(body: str) -> str:
    """Drops the quoted lines (`> <@user:server> …`) that old clients put before a reply."""
    lines = body.split("\n")
    if not lines[0].startswith("> <@"):
        return body
    count = 0
    while count < len(lines) and lines[count].startswith("> "):
        count += 1
    if count < len(lines) and not lines[count]:
        count += 1
    return "\n".join(lines[count:])
