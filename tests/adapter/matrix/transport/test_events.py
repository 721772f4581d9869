"""Events, each parsed by itself."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.adapter.matrix.transport.events import (
    Event,
    Problem,
    StrippedEvent,
    parse_event,
    parse_events,
    parse_stripped,
)

GOOD: dict[str, Any] = {
    "event_id": "$1",
    "type": "m.room.message",
    "sender": "@ada:x",
    "content": {"body": "hi"},
    "origin_server_ts": 5,
}


def test_a_good_event_is_read_whole() -> None:
    raw = GOOD | {"state_key": "", "unsigned": {"transaction_id": "t1"}}
    event = parse_event(raw)
    assert event == Event(
        "$1", "m.room.message", "@ada:x", {"body": "hi"}, 5, "", {"transaction_id": "t1"}
    )
    assert event.transaction_id == "t1"


@pytest.mark.parametrize("stamp", ["5", None, True, -1, 5.5, 2**53, 10**30, [], {}])
def test_a_malformed_timestamp_does_not_lose_the_message(stamp: object) -> None:
    event = parse_event(GOOD | {"origin_server_ts": stamp})
    assert isinstance(event, Event)
    assert event.origin_server_ts == 0


@pytest.mark.parametrize("name", ["origin_server_ts", "state_key", "unsigned"])
@pytest.mark.parametrize("value", [None, 3, "text", [], {}, True])
def test_what_is_not_needed_can_be_anything(name: str, value: object) -> None:
    assert isinstance(parse_event(GOOD | {name: value}), Event)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("an event", "object"),
        (None, "object"),
        ([GOOD], "object"),
        ({}, "event_id"),
        (GOOD | {"event_id": 3}, "event_id"),
        (GOOD | {"event_id": ""}, "event_id"),
        (GOOD | {"event_id": "$a\x00b"}, "event_id"),
        (GOOD | {"type": None}, "type"),
        (GOOD | {"sender": ["@ada:x"]}, "sender"),
        (GOOD | {"content": "hi"}, "content"),
        (GOOD | {"content": None}, "content"),
    ],
)
def test_a_malformed_event_is_a_problem_that_names_what_is_wrong(raw: object, word: str) -> None:
    problem = parse_event(raw)
    assert isinstance(problem, Problem)
    assert word in problem.reason
    assert "hi" not in problem.reason.split()


def test_a_problem_of_a_list_knows_its_room_and_event() -> None:
    events, problems = parse_events([GOOD, GOOD | {"event_id": "$2", "type": 1}, 7], "!r", "chunk")
    assert [e.event_id for e in events] == ["$1"]
    assert [(p.room_id, p.event_id) for p in problems] == [("!r", "$2"), ("!r", None)]
    assert parse_events({"a": 1}, "!r", "chunk") == ((), (Problem("chunk is no list", "!r"),))
    assert parse_events(None, "!r", "chunk") == ((), ())


def test_a_redacted_event_says_so() -> None:
    event = parse_event(GOOD | {"unsigned": {"redacted_because": {}}})
    assert isinstance(event, Event)
    assert event.redacted
    assert event.transaction_id is None


def test_stripped_state_needs_its_four_fields() -> None:
    raw = {"type": "m.room.name", "sender": "@a:x", "state_key": "", "content": {"name": "T"}}
    assert parse_stripped(raw) == StrippedEvent("m.room.name", "@a:x", "", {"name": "T"})
    for name in raw:
        assert isinstance(parse_stripped(raw | {name: None}), Problem)
    assert isinstance(parse_stripped(3), Problem)
