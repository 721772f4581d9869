"""The checker of encrypted rooms: what is well passes, each way to break a promise is caught."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
import vodozemac

from antiphon.adapter.matrix.transport.events import Event
from antiphon.testing.checker import Facts, judge
from antiphon.testing.checker_sealed import Sealed, count, faults, ratchet_index

BOT, ADA, ROOM = "@bot:x", "@ada:x", "!a:x"


class SealedRoom:
    """An encrypted room that is written by hand, with a real Megolm session of the bot."""

    def __init__(self, **settings: Any):
        self.wire: list[Event] = []
        self.read: list[Event] = []
        self.session = vodozemac.GroupSession()
        content = {"algorithm": "m.megolm.v1.aes-sha2"} | settings
        self.add(Event("$0", "m.room.encryption", ADA, content, 1000, state_key=""))

    def add(self, event: Event, read: Event | None = None) -> None:
        self.wire.append(event)
        self.read.append(read or event)

    def say(self, *, readable: bool = True, sender: str = BOT, **more: Any) -> None:
        text = self.session.encrypt(b"{}").to_base64()
        self.put(text, readable=readable, sender=sender, **more)

    def put(
        self, text: str, *, readable: bool = True, session: str = "", sender: str = BOT, **more: Any
    ) -> None:
        number = len(self.wire)
        content = {"ciphertext": text, "session_id": session or self.session.session_id}
        event = Event(f"${number}", "m.room.encrypted", sender, content, 1000 + number, **more)
        plain = msgspec.structs.replace(event, type="m.room.message", content={"body": "Hello."})
        self.add(event, plain if readable else None)

    def clear(self, kind: str = "m.room.message", *, at: int = 2000, **more: Any) -> None:
        self.add(Event(f"${len(self.wire)}", kind, BOT, {"body": "Hello."}, at, **more))

    def kinds(self, unseen_ms: int = 0) -> list[str]:
        return [fault.kind for fault in faults(BOT, Sealed(self.wire, self.read, unseen_ms))]


@pytest.fixture
def room() -> SealedRoom:
    made = SealedRoom()
    for _ in range(3):
        made.say()
    return made


def test_an_encrypted_conversation_is_well(room: SealedRoom) -> None:
    room.clear("m.room.redaction")
    room.clear("m.room.member", state_key=BOT)
    assert room.kinds() == []


@pytest.mark.parametrize("sender", [BOT, ADA])
def test_what_the_independent_client_can_not_read_is_seen(room: SealedRoom, sender: str) -> None:
    room.say(readable=False, sender=sender)
    assert room.kinds() == ["undecryptable"]
    assert count(BOT, {ROOM: Sealed(room.wire, room.read)}) == (3 + (sender == BOT), 1)


def test_what_was_redacted_need_not_be_read(room: SealedRoom) -> None:
    room.say(readable=False, unsigned={"redacted_because": {}})
    assert room.kinds() == []


def test_something_in_the_clear_is_seen_even_if_it_was_redacted(room: SealedRoom) -> None:
    room.clear()
    room.clear(unsigned={"redacted_because": {}})
    assert room.kinds() == ["plaintext", "plaintext"]


def test_what_was_under_way_when_encryption_was_switched_on_is_let_pass() -> None:
    room = SealedRoom()
    room.wire.insert(0, Event("$before", "m.room.message", BOT, {"body": "Hello."}, 900))
    room.clear(at=1400)
    assert room.kinds(500) == []
    assert room.kinds(100) == ["plaintext"]


def test_a_ratchet_that_went_back_is_seen(room: SealedRoom) -> None:
    """Other words under the same index of the same session; of another session, they are well."""
    again = room.wire[-1].content["ciphertext"]
    room.put(again, session="another")
    assert room.kinds() == []
    room.put(again)
    assert room.kinds() == ["ratchet"]


def test_the_same_event_twice_in_a_history_is_one(room: SealedRoom) -> None:
    room.add(room.wire[-1], room.read[-1])
    assert room.kinds() == []


def test_a_session_that_is_used_for_longer_than_the_room_says_is_seen() -> None:
    room = SealedRoom(rotation_period_msgs=2)
    room.say()
    room.say()
    room.say(sender=ADA)
    assert room.kinds() == []
    room.say()
    assert room.kinds() == ["rotation"]


def test_the_index_of_a_message_is_read_from_its_ciphertext() -> None:
    session = vodozemac.GroupSession()
    texts = [session.encrypt(b"x").to_base64() for _ in range(200)]
    assert [ratchet_index(text) for text in texts] == list(range(200))


@pytest.mark.parametrize(
    "text", [None, 7, "", "?", "AwgB!", base64.b64encode(b"\x03\x08" + b"\xff" * 9).decode()]
)
def test_what_is_no_megolm_message_has_no_index(text: object) -> None:
    assert ratchet_index(text) is None


def test_the_judge_of_a_trial_tells_of_it(room: SealedRoom) -> None:
    room.say(readable=False)
    sealed = Sealed(room.wire, room.read)
    found = judge(Facts(BOT, (), {}, (), {}, sealed={ROOM: sealed}))
    assert [(violation.kind, violation.room_id) for violation in found] == [("undecryptable", ROOM)]
