"""Reading /sync: whatever is malformed in it is left out and reported, and the rest stays."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.adapter.matrix.transport.events import Event, Problem
from antiphon.adapter.matrix.transport.sync_response import SyncResponse, parse_sync
from antiphon.errors import HomeserverUnreachableError


def event(event_id: str = "$1", **more: Any) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "type": "m.room.message",
        "sender": "@ada:x",
        "content": {"body": "hi"},
        "origin_server_ts": 5,
    } | more


FULL: dict[str, Any] = {
    "next_batch": "s2",
    "rooms": {
        "join": {
            "!a:x": {
                "timeline": {"events": [event()], "limited": True, "prev_batch": "p1"},
                "state": {"events": [event("$s", type="m.room.name", state_key="")]},
                "ephemeral": {"events": []},
            }
        },
        "invite": {
            "!b:x": {
                "invite_state": {
                    "events": [
                        {"type": "m.room.member", "sender": "@ada:x", "state_key": "@bot:x",
                         "content": {"membership": "invite"}},
                    ]
                }
            }
        },
        "leave": {"!c:x": {"timeline": {"events": [event("$l")]}, "state": {"events": []}}},
    },
    "to_device": {"events": [{"type": "m.room.encrypted", "sender": "@ada:x", "content": {}}]},
    "device_lists": {"changed": ["@ada:x", "@eve:x", "@ada:x"], "left": ["@bob:x"]},
    "device_one_time_keys_count": {"signed_curve25519": 50},
    "device_unused_fallback_key_types": ["signed_curve25519"],
}  # fmt: skip


def parse(body: object) -> SyncResponse:
    return parse_sync(json.dumps(body).encode())


def without(*where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of FULL and the part of it at `where`."""
    body = json.loads(json.dumps(FULL))
    part = body
    for name in where:
        part = part[name]
    return body, part


def test_a_whole_answer_is_read() -> None:
    response = parse(FULL)
    room = response.joined["!a:x"]
    assert (response.next_batch, room.limited, room.prev_batch) == ("s2", True, "p1")
    assert [e.event_id for e in (*room.timeline, *room.state)] == ["$1", "$s"]
    assert response.invited["!b:x"][0].content == {"membership": "invite"}
    assert response.left["!c:x"].timeline[0].event_id == "$l"
    assert response.to_device[0]["type"] == "m.room.encrypted"
    assert response.device_lists_changed == ("@ada:x", "@eve:x")
    assert response.device_lists_left == ("@bob:x",)
    assert response.one_time_key_counts == {"signed_curve25519": 50}
    assert response.unused_fallback_key_types == ("signed_curve25519",)
    assert response.problems == ()
    assert not response.empty


def test_an_answer_without_news_is_empty() -> None:
    assert parse({"next_batch": "s3"}).empty
    assert parse({"next_batch": "s3", "rooms": {"join": {}}, "to_device": None}).empty


def test_device_lists_and_key_counts_alone_are_no_news_for_rooms() -> None:
    """Whoever reads until nothing comes may stop at them; to-device messages come in portions,
    and must be read to their end."""
    quiet = {name: FULL[name] for name in FULL if name not in ("rooms", "to_device")}
    response = parse(quiet)
    assert response.empty
    assert response.device_lists_changed
    assert not parse(quiet | {"to_device": FULL["to_device"]}).empty


def test_what_the_homeserver_does_not_say_about_keys_is_not_made_up() -> None:
    response = parse({"next_batch": "s3", "device_lists": None, "device_one_time_keys_count": None})
    assert (response.one_time_key_counts, response.unused_fallback_key_types) == ({}, None)
    assert (response.device_lists_changed, response.device_lists_left) == ((), ())
    assert (
        parse(
            {"next_batch": "s3", "device_unused_fallback_key_types": []}
        ).unused_fallback_key_types
        == ()
    )


def test_malformed_entries_of_key_news_are_left_out_one_by_one() -> None:
    response = parse(
        {
            "next_batch": "s3",
            "device_lists": {"changed": ["@a:x", 3, None], "left": "@b:x"},
            "device_one_time_keys_count": {"a": 3, "b": "4", "c": -1, "d": True, "e": 0},
            "device_unused_fallback_key_types": {"signed_curve25519": 1},
        }
    )
    assert response.device_lists_changed == ("@a:x",)
    assert response.device_lists_left == ()
    assert response.one_time_key_counts == {"a": 3, "e": 0}
    assert response.unused_fallback_key_types is None
    assert len(response.problems) == 2 + 1 + 3 + 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"next_batch": 3}', b'{"next_batch": ""}',
             b'{"next_batch": "s2", "rooms"']
)  # fmt: skip
def test_without_a_next_batch_there_is_nothing_to_go_on_from(body: bytes) -> None:
    with pytest.raises(HomeserverUnreachableError):
        parse_sync(body)


def test_a_malformed_event_is_skipped_and_its_neighbours_are_kept() -> None:
    body, timeline = without("rooms", "join", "!a:x", "timeline")
    timeline["events"] = [
        event("$1"), 7, event("$2", content="x"), event("$3", origin_server_ts="5"),
    ]  # fmt: skip
    response = parse(body)
    assert [e.event_id for e in response.joined["!a:x"].timeline] == ["$1", "$3"]
    assert response.problems == (
        Problem("the event is no object", "!a:x"),
        Problem("the event's content is no object", "!a:x", "$2"),
    )


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ((), "rooms"),
        (("rooms",), "join"),
        (("rooms", "join"), "!a:x"),
        (("rooms", "join", "!a:x"), "timeline"),
        (("rooms", "join", "!a:x", "timeline"), "events"),
        (("rooms", "join", "!a:x"), "state"),
        (("rooms", "invite"), "!b:x"),
        (("rooms", "invite", "!b:x"), "invite_state"),
        (("rooms", "leave", "!c:x"), "timeline"),
        ((), "to_device"),
        (("to_device",), "events"),
        ((), "device_lists"),
        (("device_lists",), "changed"),
        (("device_lists",), "left"),
        ((), "device_one_time_keys_count"),
        (("device_one_time_keys_count",), "signed_curve25519"),
        ((), "device_unused_fallback_key_types"),
    ],
)
def test_a_malformed_section_is_one_problem(where: tuple[str, ...], name: str) -> None:
    body, part = without(*where)
    part[name] = "broken"
    response = parse(body)
    assert len(response.problems) == 1
    assert response.next_batch == "s2"


def test_a_room_whose_invitation_is_malformed_is_still_an_invitation() -> None:
    body, part = without("rooms", "invite", "!b:x")
    part["invite_state"] = {"events": [3]}
    assert parse(body).invited == {"!b:x": ()}


def test_a_limited_that_is_no_boolean_counts_as_a_gap() -> None:
    body, part = without("rooms", "join", "!a:x", "timeline")
    part["limited"] = "false"
    response = parse(body)
    assert response.joined["!a:x"].limited
    assert len(response.problems) == 1


def test_a_lone_surrogate_in_one_event_stops_nothing() -> None:
    raw = json.dumps(FULL).replace('"hi"', '"\\ud800"')
    response = parse_sync(raw.encode())
    assert response.joined["!a:x"].timeline[0].content == {"body": "\ufffd"}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.lists(st.integers(0, 7), min_size=1, max_size=9)


def put(value: Any, path: list[int], anything: object) -> Any:
    """`value` with `anything` in one place in it, chosen by `path`."""
    if not path or not isinstance(value, (dict, list)) or not value:
        return anything
    if isinstance(value, list):
        index = path[0] % len(value)
        return [*value[:index], put(value[index], path[1:], anything), *value[index + 1 :]]
    name = list(value)[path[0] % len(value)]
    return value | {name: put(value[name], path[1:], anything)}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PATHS, ANY), min_size=1, max_size=4))
def test_any_value_anywhere_is_read_or_refused_as_a_whole(
    changes: list[tuple[list[int], object]],
) -> None:
    body: Any = FULL
    for path, anything in changes:
        body = put(body, path, anything)
    try:
        response = parse(body)
    except HomeserverUnreachableError:
        next_batch = body.get("next_batch") if isinstance(body, dict) else None
        assert not isinstance(next_batch, str) or not next_batch
        return
    for room in response.joined.values():
        assert all(isinstance(e, Event) for e in (*room.timeline, *room.state))
    assert all(isinstance(p, Problem) and p.reason for p in response.problems)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(HomeserverUnreachableError):
        parse_sync(body)
