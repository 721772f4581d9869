"""What a room shows: edits applied by the specification's rule, redactions done."""

from __future__ import annotations

from typing import Any

from antiphon.adapter.matrix.transport.events import Event
from antiphon.testing.history import fold


def said(
    event_id: str,
    body: str,
    sender: str = "@bot:x",
    ts: int = 1,
    more: dict[str, Any] | None = None,
) -> Event:
    return Event(event_id, "m.room.message", sender, {"body": body, **(more or {})}, ts)


def edit(event_id: str, of: str, body: str, sender: str = "@bot:x", ts: int = 2) -> Event:
    return said(
        event_id,
        f"* {body}",
        sender,
        ts,
        {
            "m.new_content": {"body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": of},
        },
    )


def test_the_greatest_timestamp_wins_and_then_the_greatest_id() -> None:
    (late_stamp,) = fold([said("$1", "a"), edit("$2", "$1", "b", ts=9), edit("$3", "$1", "c")])
    assert (late_stamp.body, late_stamp.texts) == ("b", ("a", "b", "c"))
    (same_stamp,) = fold([said("$1", "a"), edit("$3", "$1", "c"), edit("$2", "$1", "b")])
    assert same_stamp.body == "c"


def test_nobody_edits_anothers_message() -> None:
    (shown,) = fold([said("$1", "a"), edit("$2", "$1", "hacked", sender="@eve:x")])
    assert (shown.body, shown.edits) == ("a", 0)


def test_repeated_events_count_once_and_redacted_ones_show_nothing() -> None:
    gone = Event("$2", "m.room.message", "@a:x", {}, 1, None, {"redacted_because": {}})
    shown = fold([said("$1", "a"), said("$1", "a"), gone])
    assert [(m.event_id, m.body, m.redacted) for m in shown] == [
        ("$1", "a", False),
        ("$2", "", True),
    ]


def test_odd_relations_are_plain_messages() -> None:
    odd = said("$1", "a", more={"m.relates_to": "text"})
    assert [m.body for m in fold([odd])] == ["a"]
