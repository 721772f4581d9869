"""What a room's history shows, read anew from the specification for the checker of campaigns: it
shares no code with what it judges. Pure.

An edit counts if it is its message's sender's own, carries `m.new_content` and was not redacted;
of several the one with the greatest (origin_server_ts, event_id) is shown (client-server API,
"Event replacements").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.adapter.matrix.transport.events import Event

MARK = "io.antiphon.answer"


class Mark(msgspec.Struct, frozen=True):
    """What an event of the bot says of itself."""

    turn: str
    part: int
    final: bool
    last: bool


class Message(msgspec.Struct, frozen=True):
    """One message as a person sees it at the end of the history.

    `at` and `settled_at` are the places of the message and of the text that is shown in the
    history; `mark` is the shown text's, `root_mark` the one that it was opened with."""

    event_id: str
    sender: str
    at: int
    settled_at: int
    body: str
    redacted: bool
    mark: Mark | None
    root_mark: Mark | None


def messages(events: Sequence[Event]) -> tuple[Message, ...]:
    """The messages of a history (oldest first), each as it is shown."""
    placed = {e.event_id: (i, e) for i, e in reversed(list(enumerate(events)))}
    told = sorted(
        ((i, e) for i, e in placed.values() if e.type == "m.room.message"), key=lambda item: item[0]
    )
    edits: dict[str, list[tuple[int, Event]]] = {}
    roots: list[tuple[int, Event]] = []
    for at, event in told:
        relation = _table(event.content.get("m.relates_to"))
        target = relation.get("event_id")
        if relation.get("rel_type") == "m.replace" and isinstance(target, str):
            edits.setdefault(target, []).append((at, event))
        else:
            roots.append((at, event))
    return tuple(_message(at, root, edits.get(root.event_id, [])) for at, root in roots)


def texts(events: Sequence[Event], sender: str) -> tuple[str, ...]:
    """Every text of `sender` that can be read anywhere in the history, superseded ones too."""
    found: list[str] = []
    for event in events:
        if event.sender == sender and event.type == "m.room.message":
            for content in (event.content, _table(event.content.get("m.new_content"))):
                found.extend(
                    value
                    for value in (content.get("body"), content.get("formatted_body"))
                    if isinstance(value, str)
                )
    return tuple(found)


def _message(at: int, root: Event, edits: list[tuple[int, Event]]) -> Message:
    valid = [
        (place, edit)
        for place, edit in edits
        if edit.sender == root.sender
        and not edit.redacted
        and isinstance(edit.content.get("m.new_content"), dict)
    ]
    settled_at, shown, content = at, root, root.content
    if valid:
        settled_at, shown = max(valid, key=lambda v: (v[1].origin_server_ts, v[1].event_id))
        content = _table(shown.content.get("m.new_content"))
    return Message(
        event_id=root.event_id,
        sender=root.sender,
        at=at,
        settled_at=settled_at,
        body="" if root.redacted else str(content.get("body", "")),
        redacted=root.redacted,
        mark=mark_of(shown.content),
        root_mark=mark_of(root.content),
    )


def mark_of(content: dict[str, Any]) -> Mark | None:
    """What an event says of itself; in an encrypted one it stands in the clear."""
    mark = _table(_table(content.get("m.relates_to")).get(MARK))
    turn, part = mark.get("turn"), mark.get("part")
    if not isinstance(turn, str) or not isinstance(part, int):
        return None
    return Mark(turn, part, mark.get("state") == "final", mark.get("last") is True)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
