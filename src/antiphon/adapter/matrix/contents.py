"""The contents of the events that we send: pure builders.

Every answer event carries its turn and part inside `m.relates_to`, which stays readable in
encrypted rooms, so that our own events in a room can be matched to the turns they answer.
`m.mentions` is always empty: a model's words must not ping anybody.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.adapter.matrix.marks import ANSWER_KEY, Mark
from antiphon.core.ids import EventId
from antiphon.core.render.markdown import to_html


class Address(msgspec.Struct, frozen=True):
    """Where in a room an answer goes: `question` is quoted if `quote`, or stands in a thread."""

    question: EventId
    thread_root: EventId | None = None
    quote: bool = False

    def relation(self) -> dict[str, Any]:
        """`m.relates_to` of an event that opens an answer."""
        if self.thread_root is not None:
            return {
                "rel_type": "m.thread",
                "event_id": self.thread_root,
                "is_falling_back": True,
                "m.in_reply_to": {"event_id": self.question},
            }
        if self.quote:
            return {"m.in_reply_to": {"event_id": self.question}}
        return {}


def message(text: str, *, notice: bool = False) -> dict[str, Any]:
    """`m.room.message` content of Markdown `text`, without any relation."""
    content: dict[str, Any] = {"msgtype": "m.notice" if notice else "m.text", "body": text}
    html = to_html(text)
    if html is not None:
        content["format"] = "org.matrix.custom.html"
        content["formatted_body"] = html
    content["m.mentions"] = {}
    return content


def opening(text: str, address: Address, mark: Mark, *, notice: bool = False) -> dict[str, Any]:
    """Content of the event that opens a part of an answer."""
    content = message(text, notice=notice)
    content["m.relates_to"] = {**address.relation(), ANSWER_KEY: mark.value()}
    return content


def edit(text: str, root: EventId, mark: Mark, *, notice: bool = False) -> dict[str, Any]:
    """Content of an edit of `root`.

    The outer body is for clients that know no edits: whole in a final, short in a partial one,
    which halves what an edit costs the homeserver's database (measured)."""
    inner = message(text, notice=notice)
    return {
        "msgtype": inner["msgtype"],
        "body": f"* {text}" if mark.final else "* …",
        "m.mentions": {},
        "m.new_content": inner,
        "m.relates_to": {"rel_type": "m.replace", "event_id": root, ANSWER_KEY: mark.value()},
    }
