"""What people see of a room's history: messages with their edits applied and redactions done.

Pure; for tests against any homeserver, the fake one too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from antiphon.adapter.matrix.transport.events import Event


class Shown(msgspec.Struct, frozen=True):
    """One message as a client shows it. `texts` are its body and that of each edit, oldest first;
    `content` is what won, by which `body` is shown; a redacted one has an empty content."""

    event_id: str
    sender: str
    body: str
    content: dict[str, Any]
    texts: tuple[str, ...]
    redacted: bool
    txn_id: str | None

    @property
    def edits(self) -> int:
        """How often it was edited."""
        return max(0, len(self.texts) - 1)

    @property
    def notice(self) -> bool:
        """Whether it is a notice, which no bot may answer."""
        return self.content.get("msgtype") == "m.notice"


def fold(events: Iterable[Event]) -> tuple[Shown, ...]:
    """The messages among a room's `events` (oldest first; repeated ones count once), each with the
    edit that wins: its sender's greatest (origin_server_ts, event_id), as the specification says
    (client-server API, "Event replacements")."""
    unique = {event.event_id: event for event in events if event.type == "m.room.message"}
    edits: dict[str, list[Event]] = {}
    roots: list[Event] = []
    for event in unique.values():
        target = edited(event)
        if target is None:
            roots.append(event)
        else:
            edits.setdefault(target, []).append(event)
    return tuple(_shown(root, edits.get(root.event_id, [])) for root in roots)


def edited(event: Event) -> str | None:
    """The id of the message that this event edits, or None."""
    relation = event.content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
        target = relation.get("event_id")
        return target if isinstance(target, str) else None
    return None


def _shown(root: Event, edits: list[Event]) -> Shown:
    valid = [
        edit
        for edit in edits
        if edit.sender == root.sender and isinstance(edit.content.get("m.new_content"), dict)
    ]
    versions = [root.content, *(edit.content["m.new_content"] for edit in valid)]
    content = root.content
    if valid:
        last = max(valid, key=lambda edit: (edit.origin_server_ts, edit.event_id))
        content = last.content["m.new_content"]
    if root.redacted:
        content = {}
    return Shown(
        event_id=root.event_id,
        sender=root.sender,
        body=str(content.get("body", "")),
        content=content,
        texts=tuple(str(version.get("body", "")) for version in versions),
        redacted=root.redacted,
        txn_id=root.transaction_id,
    )
