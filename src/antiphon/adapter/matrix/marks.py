"""The mark that every event of an answer carries inside `m.relates_to`: which turn, which part."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.core.ids import TurnId

ANSWER_KEY = "io.antiphon.answer"
"""Key of our mark inside `m.relates_to`."""


class Mark(msgspec.Struct, frozen=True):
    """Which part of which turn's answer an event is. `final`: the text is whole; `last`: no
    part follows it."""

    turn: TurnId
    part: int
    final: bool
    last: bool = False
    revision: int = 1

    def value(self) -> dict[str, Any]:
        """The mark as it stands in the event."""
        mark: dict[str, Any] = {
            "turn": self.turn,
            "part": self.part,
            "state": "final" if self.final else "partial",
            "revision": self.revision,
        }
        if self.final:
            mark["last"] = self.last
        return mark


def mark_of(content: dict[str, Any]) -> dict[str, Any] | None:
    """Our mark in an event's content, if it carries one."""
    relation = content.get("m.relates_to")
    mark = relation.get(ANSWER_KEY) if isinstance(relation, dict) else None
    return mark if isinstance(mark, dict) and isinstance(mark.get("turn"), str) else None
