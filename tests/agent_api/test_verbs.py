"""Verb frames: what is refused, with which code and under which id."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agent_api.messages import (
    MAX_FRAME_BYTES,
    MAX_INPUT_CHARS,
    Attach,
    Cursor,
    InputPart,
    RunCancel,
    RunStart,
)
from antiphon.agent_api.verbs import BadVerbError, decode_verb, encode_verb

THREAD = "thread-0000000001"


def frame(**fields: object) -> str:
    return json.dumps({"id": "v1", "thread_id": THREAD, **fields})


def test_a_verb_survives_the_wire() -> None:
    """Encoding and decoding gives the same value."""
    verb = RunStart("v1", THREAD, run_id="t1.0", input=(InputPart("hi", "@a:x"),))
    assert decode_verb(encode_verb(verb)) == verb
    attach = Attach("v2", THREAD, "t1.0", Cursor("t1.0", 2, 7))
    assert decode_verb(encode_verb(attach).decode()) == attach


@pytest.mark.parametrize(
    ("data", "code", "verb_id"),
    [
        ("", "bad_frame", None),
        ("nonsense", "bad_frame", None),
        ("[]", "bad_frame", None),
        ("null", "bad_frame", None),
        ("[" * 100_000, "bad_frame", None),
        ('{"a":' * 50_000, "bad_frame", None),
        (b"\xff\xfe", "bad_frame", None),
        ('{"id": "\ud800"}', "bad_frame", None),
        ("{}", "bad_frame", None),
        (frame(), "bad_frame", "v1"),
        (frame(type=5), "bad_frame", "v1"),
        (frame(type="run.begin"), "unknown_type", "v1"),
        (frame(type="attach", thread="x"), "bad_frame", "v1"),
        (frame(type="attach", thread_id="short"), "bad_frame", "v1"),
        (frame(type="attach", id=7), "bad_frame", None),
        (frame(type="attach", id="x" * 200), "bad_frame", None),
        (frame(type="run.start", run_id="r1", input=[]), "bad_frame", "v1"),
        (frame(type="run.start", run_id="r 1", input=[{"text": "x"}]), "bad_frame", "v1"),
        (
            frame(type="run.start", run_id="r1", input=[{"text": "x" * (MAX_INPUT_CHARS + 1)}]),
            "input_too_large",
            "v1",
        ),
        (frame(type="attach", x="x" * MAX_FRAME_BYTES), "frame_too_large", None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_wrong_frame_is_refused_with_its_code_and_id(
    data: str | bytes, code: str, verb_id: str | None
) -> None:
    """The error is ready to be sent back: code, sentence, and the id where it could be read."""
    with pytest.raises(BadVerbError) as caught:
        decode_verb(data)
    assert (caught.value.code, caught.value.verb_id) == (code, verb_id)
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 500


@given(st.binary() | st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_input_breaks_the_decoder(data: bytes | str) -> None:
    """Anything at all gives a verb or a BadVerbError."""
    try:
        decode_verb(data)
    except BadVerbError:
        return


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        (RunCancel("v1", THREAD, run_id="spaces are wrong"), "bad_frame"),
        (RunStart("v1", THREAD, run_id="r1", input=(InputPart("\ud800"),)), "bad_frame"),
        (RunStart("v1", THREAD, run_id="r1", input=()), "bad_frame"),
        (
            RunStart("v1", THREAD, run_id="r1", input=(InputPart("x" * 200_001),)),
            "input_too_large",
        ),
        (
            RunStart("v1", THREAD, run_id="r1", input=(InputPart("\0" * 200_000),)),
            "frame_too_large",
        ),
    ],
    ids=lambda value: str(value)[:16],
)
def test_what_the_agent_would_refuse_is_not_encoded(verb: RunStart | RunCancel, code: str) -> None:
    """The same checks hold before sending."""
    with pytest.raises(BadVerbError) as caught:
        encode_verb(verb)
    assert caught.value.code == code
