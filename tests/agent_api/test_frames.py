"""Server frames: tolerant of a newer agent, strict about broken ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agent_api.frames import UnknownEvent, decode_frame, encode_frame
from antiphon.agent_api.messages import MAX_FRAME_BYTES, Error, Ok, RunFinished, TextDelta
from antiphon.errors import AgentProtocolError

BASE = {"v": 1, "thread_id": "thread-0000000001", "run_id": "r1", "attempt": 1, "seq": 3}


def test_frames_survive_the_wire() -> None:
    """Answers and events come back as the same values."""
    for frame in (
        Ok("v1"),
        Error("conflict", "No.", "v1"),
        TextDelta(thread_id="t", run_id="r", attempt=1, seq=2, step=0, text="ü"),
    ):
        assert decode_frame(encode_frame(frame)) == frame


def test_what_a_newer_agent_adds_is_skipped() -> None:
    """A new field is ignored, a new event keeps its place in the order, the rest is nothing."""
    added = decode_frame(json.dumps({**BASE, "type": "text.delta", "step": 0, "text": "x", "z": 1}))
    assert isinstance(added, TextDelta)
    new_event = decode_frame(json.dumps({**BASE, "type": "mood.changed", "mood": "good"}))
    assert new_event == UnknownEvent("mood.changed", BASE["thread_id"], "r1", 1, 3)  # type: ignore[arg-type]
    assert decode_frame('{"type":"hello","server":"x"}') is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "no frame"),
        ("<html>", "no frame"),
        ("[1]", "no frame"),
        (b"\xff", "no frame"),
        ("[" * 100_000, "no frame"),
        ('{"type": 7}', "no frame"),
        ('{"type":"ok"}', "broken frame 'ok'"),
        (json.dumps({**BASE, "type": "text.delta", "step": "0"}), "broken frame 'text.delta'"),
        (json.dumps({**BASE, "type": "text.end", "step": 0, "v": 2}), "version 2"),
        (" " * (MAX_FRAME_BYTES + 1), "above"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_frame_is_an_error_with_a_sentence(data: str | bytes, says: str) -> None:
    """The connection that sent it is to be closed; the sentence says what it was."""
    with pytest.raises(AgentProtocolError, match=says):
        decode_frame(data)


@given(st.binary() | st.text())
def test_no_input_breaks_the_decoder(data: bytes | str) -> None:
    """Anything at all gives a frame, nothing, or AgentProtocolError."""
    try:
        decode_frame(data)
    except AgentProtocolError:
        return


def test_a_frame_above_the_limit_is_not_made() -> None:
    """The agent finds out before the client does."""
    event = RunFinished(
        thread_id="t", run_id="r", attempt=1, seq=1, outcome="success", text="x" * MAX_FRAME_BYTES
    )
    with pytest.raises(AgentProtocolError) as caught:
        encode_frame(event)
    assert caught.value.code == "frame_too_large"
