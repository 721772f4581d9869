"""Answers as a person sees them: the bot's events of a room, folded into one text per turn.

Pure: events in, texts out. The adapter marks each event of an answer inside `m.relates_to`
(`io.antiphon.answer`), which says to what turn and part it belongs and whether its text is final.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.adapter.matrix.marks import mark_of
from antiphon.adapter.matrix.transport.events import Event


class Answer(msgspec.Struct, frozen=True):
    """An answer as it is now: its text so far, whether it is whole, and whether it is a notice
    (an error or a remark) rather than what was asked for."""

    text: str
    whole: bool
    notice: bool


class _Part(msgspec.Struct):
    root: str
    text: str
    final: bool
    last: bool
    notice: bool
    newest: tuple[int, str]


class Answers:
    """The answers of one account, the bot's, in all rooms that events are fed from."""

    def __init__(self, bot: str):
        self._bot = bot
        self._turns: dict[str, dict[int, _Part]] = {}

    def feed(self, event: Event) -> None:
        """Takes an event, in the order of /sync; what is no part of an answer is passed over."""
        if event.sender != self._bot:
            return
        if event.type == "m.room.redaction":
            self._redact(event)
            return
        mark = mark_of(event.content)
        if event.type != "m.room.message" or mark is None or not isinstance(mark.get("part"), int):
            return
        parts = self._turns.setdefault(mark["turn"], {})
        final = mark.get("state") == "final"
        last = final and mark.get("last") is True
        relation = event.content["m.relates_to"]
        when = (event.origin_server_ts, event.event_id)
        if relation.get("rel_type") != "m.replace":
            text, notice = _text(event.content)
            parts.setdefault(mark["part"], _Part(event.event_id, text, final, last, notice, when))
            return
        part = parts.get(mark["part"])
        shown = event.content.get("m.new_content")
        if part is None or relation.get("event_id") != part.root or not isinstance(shown, dict):
            return
        # As clients judge: the newest edit wins; but a partial never hides a final here.
        if when > part.newest and (final or not part.final):
            part.text, part.notice = _text(shown)
            part.final, part.last, part.newest = final, last, when

    def of(self, turn: str) -> Answer | None:
        """The answer of a turn; None while there is nothing of it."""
        parts = self._turns.get(turn)
        if not parts:
            return None
        ordered = [part for _, part in sorted(parts.items())]
        return Answer(
            "\n\n".join(part.text for part in ordered),
            whole=ordered[-1].last and all(part.final for part in ordered),
            notice=ordered[-1].notice,
        )

    def _redact(self, event: Event) -> None:
        target = event.content.get("redacts")
        for parts in self._turns.values():
            for number, part in list(parts.items()):
                if part.root == target:
                    del parts[number]


def remark(event: Event, bot: str) -> str | None:
    """The text of a message of the bot that belongs to no turn, if `event` is one."""
    if event.sender != bot or event.type != "m.room.message" or mark_of(event.content):
        return None
    relation = event.content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
        return None
    return _text(event.content)[0] or None


def _text(content: dict[str, Any]) -> tuple[str, bool]:
    body = content.get("body")
    return body if isinstance(body, str) else "", content.get("msgtype") == "m.notice"
