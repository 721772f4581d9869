"""Whole verifications that matrix-rust-sdk took part in, replayed: our messages are the same to the
letter, and both sides showed the same.

How they were made stands in data/verification_transcripts.json. In each the other side ended with
our device verified.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.verification_messages import Keys, Message
from antiphon.adapter.matrix.crypto.verification_state import Decision, Phase, Verified
from antiphon.testing.verifying import FixedAgreement, Person

DATA = Path(__file__).parent / "data" / "verification_transcripts.json"
TRANSCRIPTS: list[dict[str, Any]] = json.loads(DATA.read_text())["transcripts"]
DECIDED = {
    messages.READY: Decision.ACCEPT,
    messages.START: Decision.START,
    messages.MAC: Decision.MATCH,
}


def _replay(transcript: dict[str, Any], believes: Keys) -> Person:
    """Our side, led through the recorded messages of theirs, until it is over."""
    us = Keys(**transcript["us"])
    person = Person(us, believes, FixedAgreement(bytes.fromhex(transcript["ephemeral"])))
    person.now_ms = transcript["now_ms"]
    room_id = transcript["room"]
    for number, (who, kind, content) in enumerate(transcript["log"]):
        if person.cancelled is not None:
            break
        if who == "them":
            event_id = None
            if room_id is not None:
                event_id = "$request" if kind == messages.ROOM_MESSAGE else f"${number}"
            message = Message(
                *(kind, believes.user_id, content, room_id, event_id), sent_ms=person.now_ms
            )
            person.receive(message)
            continue
        if person.state is None:
            person.ask(room_id)
        elif not person.sent:
            person.decide(DECIDED[kind])
        sent = person.sent.pop(0)
        assert (sent.type, sent.content) == (kind, content)
        assert sent.room_id == room_id
        assert sent.device_ids == (() if room_id else (believes.device_id,))
    return person


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_a_verification_with_another_implementation(transcript: dict[str, Any]) -> None:
    them = transcript["them"]
    person = _replay(transcript, Keys(**them))
    assert person.sent == []
    assert person.verified == Verified(**them)
    assert person.state is not None
    assert person.state.phase is Phase.DONE
    assert person.shown is not None
    assert [list(item) for item in person.shown.emoji] == transcript["shown"]["emoji"]
    assert list(person.shown.decimals) == transcript["shown"]["decimals"]


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
@pytest.mark.parametrize("name", ["device_key", "master_key"])
def test_their_macs_prove_no_other_keys(transcript: dict[str, Any], name: str) -> None:
    """The same messages, with another key in our device list. Another master key has another id:
    it is left out."""
    person = _replay(transcript, Keys(**(transcript["them"] | {name: "A" * 43})))
    if name == "device_key":
        assert person.cancelled is not None
        assert person.cancelled.code == "m.key_mismatch"
    else:
        assert person.verified == Verified(**(transcript["them"] | {"master_key": None}))
