"""What Matrix events mean for us, broken ones included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.matrix.convert import (
    Edited,
    FileSent,
    OwnAnswer,
    Question,
    Reading,
    Redacted,
    Skipped,
    Unreadable,
    read_event,
)
from antiphon.adapter.matrix.marks import ANSWER_KEY
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, UserId

ME = UserId("@bot:hs")


def read(content: dict[str, Any], sender: str = "@ada:hs", kind: str = "m.room.message") -> Reading:
    return read_event(Event("$e", kind, sender, content, 0), ME)


def text(body: object = "hello", **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, **more}


def test_a_text_is_a_question() -> None:
    reading = read(text("  hello \n"))
    assert isinstance(reading, Question)
    assert (reading.text, reading.sender, reading.event_id) == ("hello", "@ada:hs", "$e")


def test_a_message_in_a_thread_knows_its_root() -> None:
    reading = read(text(**{"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}))
    assert isinstance(reading, Question)
    assert reading.thread_root == "$root"


@pytest.mark.parametrize("relation", ["text", 7, None, [], {"rel_type": 1}, {"event_id": {}}])
def test_a_broken_relation_does_not_lose_the_message(relation: object) -> None:
    """Measured: Synapse accepts a non-object `m.relates_to`; a peer loses such messages."""
    assert isinstance(read(text(**{"m.relates_to": relation})), Question)


@pytest.mark.parametrize(
    ("content", "sender"),
    [
        (text() | {"msgtype": "m.notice"}, "@other-bot:hs"),
        (text(), ME),
        (text("   "), "@ada:hs"),
        ({}, "@ada:hs"),
    ],
    ids=["notice", "own", "blank", "redacted"],
)
def test_everyday_events_that_start_no_turn(content: dict[str, Any], sender: str) -> None:
    reading = read(content, sender)
    assert isinstance(reading, Skipped)
    assert reading.expected


@pytest.mark.parametrize(
    "content",
    [{"msgtype": "m.text"}, text(7), text(None), text() | {"msgtype": "x.y"}, {"body": "hello"}],
    ids=["no body", "number", "null", "unknown msgtype", "no msgtype"],
)
def test_broken_messages_are_skipped_with_a_line_in_the_log(content: dict[str, Any]) -> None:
    reading = read(content)
    assert isinstance(reading, Skipped)
    assert not reading.expected


def test_an_edit_names_its_target_and_the_new_text() -> None:
    relation = {"rel_type": "m.replace", "event_id": "$x"}
    new = {"msgtype": "m.text", "body": "better"}
    reading = read(text("* better", **{"m.relates_to": relation, "m.new_content": new}))
    assert isinstance(reading, Edited)
    assert (reading.target, reading.text) == ("$x", "better")
    broken = read(text("* better", **{"m.relates_to": relation, "m.new_content": "better"}))
    assert isinstance(broken, Skipped)


def test_our_own_answers_are_known_by_their_mark() -> None:
    mark = {"turn": "t1", "part": 0, "state": "final", "last": True, "revision": 2}
    reading = read(text(**{"m.relates_to": {ANSWER_KEY: mark}}), ME)
    assert isinstance(reading, OwnAnswer)
    assert (reading.turn_id, reading.final, reading.last, reading.revision) == ("t1", True, True, 2)
    assert isinstance(read(text(**{"m.relates_to": {ANSWER_KEY: mark}})), Question)
    assert isinstance(
        read(text(**{"m.relates_to": {ANSWER_KEY: mark | {"part": "x"}}}), ME), Skipped
    )


def test_a_redaction_names_its_target() -> None:
    event = Event("$r", "m.room.redaction", "@ada:hs", {}, 0, redacts="$x")
    assert read_event(event, ME) == Redacted(EventId("$r"), UserId("@ada:hs"), EventId("$x"))


def test_nothing_of_a_verification_starts_a_turn() -> None:
    """Neither its request, which is a message with text, nor what follows, nor an edit of it."""
    request = text("asks to verify") | {"msgtype": "m.key.verification.request"}
    for content, kind in (
        (request, "m.room.message"),
        (text(), "m.key.verification.ready"),
        (text(), "m.key.verification.cancel"),
        (
            request
            | {
                "m.new_content": request,
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"},
            },
            "m.room.message",
        ),
    ):
        reading = read(content, kind=kind)
        assert isinstance(reading, Skipped)
        assert reading.expected


def test_files_and_encrypted_messages_are_told_apart() -> None:
    assert isinstance(read({"msgtype": "m.image", "body": "a.png", "url": 7}), FileSent)
    assert isinstance(read({"ciphertext": "broken"}, kind="m.room.encrypted"), Unreadable)


def test_the_quote_of_a_reply_is_no_part_of_the_question() -> None:
    """So a quoted `!stop` stops nothing."""
    quoted = "> <@bob:hs> !stop\n> and more\n\nwhy?"
    reading = read(text(quoted, **{"m.relates_to": {"m.in_reply_to": {"event_id": "$q"}}}))
    assert isinstance(reading, Question)
    assert reading.text == "why?"


def test_a_quote_that_a_person_typed_stays() -> None:
    reading = read(text("> wise words\n\nwhy?"))
    assert isinstance(reading, Question)
    assert reading.text == "> wise words\n\nwhy?"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["body", "msgtype", "m.relates_to", "rel_type", "event_id", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["body", "msgtype", "m.relates_to", "m.new_content"]), json_values
    )
)
def test_no_content_raises(content: dict[str, Any]) -> None:
    read(content)
