"""How a verification begins, and what begins none."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification, verification_opening
from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.sas import Ephemeral
from antiphon.adapter.matrix.crypto.verification_messages import Keys, Message, transaction_of
from antiphon.adapter.matrix.crypto.verification_state import (
    Asked,
    Cancelled,
    Decision,
    Ignored,
    Received,
    Step,
    Verification,
)
from antiphon.testing.verifying import Person, exchange, made_up_keys

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
NOW = 10_000_000
ROOM = "!room:example.org"
REQUEST: dict[str, Any] = {
    "from_device": "ALICEDEVICE",
    "methods": ["m.sas.v1", "m.qr_code.scan.v1"],
    "timestamp": NOW,
    "transaction_id": "txn",
}
ROOM_REQUEST: dict[str, Any] = {
    "msgtype": "m.key.verification.request",
    "body": "…",
    "from_device": "ALICEDEVICE",
    "methods": ["m.sas.v1"],
    "to": BOB.user_id,
}


def _opened(message: Message, keys: Keys | None = ALICE, us: Keys = BOB) -> Step | Ignored:
    return verification_opening.open_request(us, Received(message, keys), NOW)


def _state(opened: Step | Ignored) -> Verification:
    assert isinstance(opened, Step)
    return opened.state


def _to_device(**changes: Any) -> Message:
    return Message(messages.REQUEST, ALICE.user_id, REQUEST | changes)


def _in_room(sent_ms: int = NOW, **changes: Any) -> Message:
    content = ROOM_REQUEST | changes
    return Message("m.room.message", ALICE.user_id, content, ROOM, "$event", sent_ms=sent_ms)


@pytest.mark.parametrize("message", [_to_device(), _in_room()])
def test_a_request_asks_a_person(message: Message) -> None:
    opened = _opened(message)
    assert isinstance(opened, Step)
    assert (opened.outgoing, opened.outcome) == ((), Asked(supported=True))
    assert opened.state.flow.transaction_id == transaction_of(message)
    assert opened.state.them == ALICE


@pytest.mark.parametrize(
    ("change", "accepted"),
    [(-599_999, True), (-600_000, False), (299_999, True), (300_000, False), (-(10**9), False)],
)
def test_requests_of_another_time_are_ignored(change: int, accepted: bool) -> None:
    """More than five minutes ahead of us, or ten behind."""
    for message in (_to_device(timestamp=NOW + change), _in_room(NOW + change)):
        assert isinstance(_opened(message), Step) is accepted


def test_a_request_from_the_future_lives_no_longer_for_it() -> None:
    state = _state(_opened(_to_device(timestamp=NOW + 200_000)))
    assert state.began_ms == NOW


def test_an_old_request_has_only_what_is_left_of_its_time() -> None:
    state = _state(_opened(_to_device(timestamp=NOW - 590_000)))
    assert verification.deadline_ms(state) == NOW + 10_000


def test_a_request_of_unknown_methods_is_for_a_person_to_refuse() -> None:
    """Another device may know them, so nothing is sent by itself."""
    bob = Person(BOB, ALICE)
    bob.now_ms = NOW
    assert bob.receive(_to_device(methods=["m.qr_code.scan.v1"])) == Asked(supported=False)
    assert isinstance(bob.decide(Decision.ACCEPT), Ignored)
    assert bob.sent == []
    assert isinstance(bob.decide(Decision.CANCEL), Cancelled)
    assert bob.sent[0].content["code"] == "m.user"


@pytest.mark.parametrize(
    "message",
    [
        _to_device(methods="m.sas.v1"),
        _to_device(from_device=5),
        _to_device(from_device=""),
        _to_device(transaction_id=""),
        _to_device(transaction_id=None),
        _to_device(transaction_id="x" * 256),
        _to_device(timestamp=None),
        _to_device(timestamp="now"),
        _to_device(timestamp=True),
        _to_device(x=0.5),
        _in_room(to="@carol:example.org"),
        _in_room(to=None),
        _in_room(msgtype="m.text"),
        replace(_in_room(), sender=BOB.user_id),
        replace(_in_room(), event_id=None),
        replace(_in_room(), type="m.key.verification.request"),
        replace(_to_device(), type="m.key.verification.ready"),
        replace(_to_device(), sender_device="OTHERDEVICE"),
    ],
)
def test_what_is_no_request_to_us_is_ignored(message: Message) -> None:
    assert isinstance(_opened(message), Ignored)


@pytest.mark.parametrize(
    "keys",
    [
        None,
        replace(ALICE, device_id="OTHERDEVICE"),
        replace(ALICE, user_id="@carol:example.org"),
        replace(ALICE, master_key="ALICEDEVICE"),
        replace(ALICE, master_key=ALICE.device_key),
    ],
)
def test_a_device_needs_sound_keys(keys: Keys | None) -> None:
    """Only a hostile homeserver gives a device the name of a master key."""
    assert isinstance(_opened(_to_device(), keys), Ignored)


def test_our_own_request_that_comes_back_is_ignored() -> None:
    assert isinstance(_opened(_to_device(), ALICE, us=ALICE), Ignored)


def _start(**changes: Any) -> Message:
    content = {
        "from_device": "ALICEDEVICE",
        "transaction_id": "txn",
        "method": "m.sas.v1",
        "key_agreement_protocols": ["curve25519-hkdf-sha256"],
        "hashes": ["sha256"],
        "message_authentication_codes": ["hkdf-hmac-sha256"],
        "short_authentication_string": ["decimal"],
    }
    return Message(messages.START, ALICE.user_id, content | changes)


def test_a_start_without_a_request_asks_a_person_or_is_cancelled() -> None:
    opened = verification_opening.open_start(BOB, Received(_start(), ALICE), Ephemeral(), NOW)
    assert isinstance(opened, Step)
    assert opened.outcome == Asked(supported=True)
    refused = verification_opening.open_start(
        BOB, Received(_start(hashes=[]), ALICE), Ephemeral(), NOW
    )
    assert isinstance(refused, Step)
    assert refused.state.over
    assert refused.outgoing[0].content["code"] == "m.unknown_method"
    for message, keys in (
        (_to_device(), ALICE),
        (replace(_start(), room_id=ROOM), ALICE),
        (_start(from_device=None), ALICE),
        (_start(), None),
    ):
        nothing = verification_opening.open_start(BOB, Received(message, keys), Ephemeral(), NOW)
        assert isinstance(nothing, Ignored)


def test_the_old_mac_is_taken_where_there_is_no_new_one() -> None:
    bob = Person(BOB, ALICE)
    bob.now_ms = NOW
    bob.receive(_start())
    bob.decide(Decision.ACCEPT)
    assert bob.sent[0].content["message_authentication_code"] == "hkdf-hmac-sha256"
    assert bob.sent[0].content["short_authentication_string"] == ["decimal"]


def test_a_message_of_an_unknown_verification_is_answered_once() -> None:
    content = {"transaction_id": "gone", "key": "x"}
    known = Message(messages.KEY, ALICE.user_id, content, sender_device="ALICEDEVICE")
    answer = verification.unknown_transaction(known)
    assert answer is not None
    assert (answer.type, answer.device_ids) == (messages.CANCEL, ("ALICEDEVICE",))
    assert answer.content["code"] == "m.unknown_transaction"
    assert answer.content["transaction_id"] == "gone"
    for message in (
        replace(known, sender_device=None),
        replace(known, type=messages.CANCEL),
        replace(known, type=messages.START),
        replace(known, type=messages.DONE),
        replace(known, room_id=ROOM),
        replace(known, content={}),
    ):
        assert verification.unknown_transaction(message) is None


def test_two_attempts_of_one_device_are_found() -> None:
    first = _state(_opened(_to_device()))
    second = _state(_opened(_to_device(transaction_id="again")))
    assert verification.rivals([first, second], second) == (first,)
    ended = Person(BOB, ALICE)
    ended.state, ended.now_ms = first, NOW
    ended.decide(Decision.CANCEL)
    assert ended.state is not None
    assert verification.rivals([ended.state], second) == ()


@pytest.mark.parametrize(
    "relation", [None, "x", {}, {"rel_type": "m.reference"}, {"event_id": "$e"}]
)
def test_a_room_event_without_reference_belongs_to_none(relation: object) -> None:
    content = {"m.relates_to": relation, "transaction_id": "txn"}
    assert transaction_of(Message(messages.KEY, ALICE.user_id, content, ROOM)) is None


def test_a_request_in_a_room_has_a_text_for_others() -> None:
    content = verification_opening.room_request_content(BOB, ALICE.user_id)
    assert BOB.user_id in content["body"]
    alice = Person(ALICE, BOB)
    bob = Person(BOB, ALICE)
    bob.ask(ROOM)
    exchange(bob, alice)
    assert alice.outcomes == [Asked(supported=True)]
