"""What is unexpected, forged, repeated or late never leads to a verified state."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.verification_messages import Message, Outgoing
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Decision,
    Ignored,
    Phase,
    Verification,
    Verified,
)
from antiphon.testing.verifying import Person, comparing, exchange, made_up_keys, ready

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
OTHER = made_up_keys("@bob:example.org", "OTHERDEVICE", 5)


def _pair() -> tuple[Person, Person]:
    return Person(ALICE, BOB), Person(BOB, ALICE)


def _ready() -> tuple[Person, Person]:
    return ready(*_pair())


def _comparing() -> tuple[Person, Person]:
    return comparing(*_pair())


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("m.reciprocate.v1", "m.unexpected_message"),
        (None, "m.unexpected_message"),
    ],
)
def test_two_starts_of_different_methods_cancel(method: object, code: str) -> None:
    alice, bob = _ready()
    alice.decide(Decision.START)
    bob.decide(Decision.START)
    start = bob.sent.pop()
    alice.receive(bob.carry(start, content=start.content | {"method": method}))
    _is_cancelled(alice, code)


def _is_cancelled(person: Person, code: str) -> None:
    assert person.cancelled is not None
    assert (person.cancelled.code, person.cancelled.by_us) == (code, True)
    assert person.sent[-1].type == messages.CANCEL
    assert person.sent[-1].content["code"] == code
    assert person.verified is None
    for decision in Decision:
        assert isinstance(person.decide(decision), Ignored)


def _tampered(phase: str, change: dict[str, Any], phase_of: str = "alice") -> Person:
    """The side that gets message `phase` changed."""
    alice, bob = _ready()
    alice.decide(Decision.START)
    for _round in range(20):
        for sender, receiver in ((alice, bob), (bob, alice)):
            for outgoing in list(sender.sent):
                sender.sent.remove(outgoing)
                if outgoing.type == phase and (sender is alice) == (phase_of == "alice"):
                    content = outgoing.content | change
                    receiver.receive(sender.carry(outgoing, content=content))
                    return receiver
                receiver.receive(sender.carry(outgoing))
        if alice.shown and bob.shown and not (alice.sent or bob.sent):
            alice.decide(Decision.MATCH)
            bob.decide(Decision.MATCH)
    raise AssertionError(phase)


OTHER_KEY = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08"


@pytest.mark.parametrize(
    ("kind", "by", "change", "code"),
    [
        (messages.START, "alice", {"method": "m.reciprocate.v1"}, "m.unknown_method"),
        (messages.START, "alice", {"method": 5}, "m.invalid_message"),
        (messages.START, "alice", {"from_device": None}, "m.invalid_message"),
        (messages.START, "alice", {"key_agreement_protocols": ["curve25519"]}, "m.unknown_method"),
        (messages.START, "alice", {"hashes": "sha256"}, "m.unknown_method"),
        (messages.START, "alice", {"message_authentication_codes": []}, "m.unknown_method"),
        (messages.START, "alice", {"short_authentication_string": ["x"]}, "m.unknown_method"),
        (messages.ACCEPT, "bob", {"key_agreement_protocol": "curve25519"}, "m.unknown_method"),
        (messages.ACCEPT, "bob", {"hash": "md5"}, "m.unknown_method"),
        (
            messages.ACCEPT,
            "bob",
            {"message_authentication_code": "hkdf-hmac-sha256"},
            "m.unknown_method",
        ),
        (messages.ACCEPT, "bob", {"short_authentication_string": []}, "m.unknown_method"),
        (messages.ACCEPT, "bob", {"short_authentication_string": ["x"]}, "m.unknown_method"),
        (
            messages.ACCEPT,
            "bob",
            {"short_authentication_string": ["emoji", "x"]},
            "m.unknown_method",
        ),
        (messages.ACCEPT, "bob", {"commitment": 5}, "m.invalid_message"),
        (messages.KEY, "bob", {"key": OTHER_KEY}, "m.mismatched_commitment"),
        (messages.KEY, "bob", {"key": "short"}, "m.invalid_message"),
        (messages.KEY, "alice", {"key": "A" * 43}, "m.invalid_message"),
        (messages.KEY, "alice", {"key": OTHER_KEY + "="}, "m.invalid_message"),
        (messages.KEY, "alice", {"key": None}, "m.invalid_message"),
        (messages.MAC, "alice", {"mac": {}}, "m.key_mismatch"),
        (messages.MAC, "alice", {"mac": []}, "m.invalid_message"),
        (messages.MAC, "alice", {"mac": {str(n): "" for n in range(65)}}, "m.invalid_message"),
        (messages.MAC, "alice", {"keys": "A" * 43}, "m.key_mismatch"),
        (messages.MAC, "alice", {"keys": None}, "m.invalid_message"),
        (messages.MAC, "alice", {"mac": {"ed25519:ALICEDEVICE": "A" * 43}}, "m.key_mismatch"),
        (messages.MAC, "alice", {"x": 0.5}, "m.invalid_message"),
    ],
)
def test_a_changed_message_cancels(kind: str, by: str, change: dict[str, Any], code: str) -> None:
    _is_cancelled(_tampered(kind, change, by), code)


def test_a_changed_accept_is_found_by_its_commitment() -> None:
    alice = _tampered(messages.ACCEPT, {"commitment": "A" * 43}, "bob")
    bob_key = made_up_keys("x", "y", 9).device_key
    content = {"key": bob_key, "transaction_id": "txn"}
    alice.receive(Message(messages.KEY, BOB.user_id, content))
    _is_cancelled(alice, "m.mismatched_commitment")


def test_keys_that_are_not_the_known_ones_are_not_verified() -> None:
    """The homeserver gave Alice another device key of Bob's."""
    alice, bob = _comparing()
    alice.state = replace(_state(alice), them=replace(BOB, device_key=OTHER_KEY))
    bob.decide(Decision.MATCH)
    exchange(alice, bob)
    assert alice.cancelled is not None
    assert alice.cancelled.code == "m.key_mismatch"


def _state(person: Person) -> Verification:
    assert person.state is not None
    return person.state


def test_another_master_key_than_the_known_one_is_not_verified() -> None:
    """Only the device is; a key that we don't know proves nothing and spoils nothing."""
    alice, bob = Person(ALICE, replace(BOB, master_key=OTHER_KEY)), Person(BOB, ALICE)
    alice.ask()
    exchange(alice, bob)
    bob.decide(Decision.ACCEPT)
    exchange(alice, bob)
    alice.decide(Decision.START)
    exchange(alice, bob)
    for person in (alice, bob):
        person.decide(Decision.MATCH)
    exchange(alice, bob)
    assert alice.verified == Verified(BOB.user_id, BOB.device_id, BOB.device_key, None)


def test_different_strings_cancel() -> None:
    alice, bob = _comparing()
    alice.decide(Decision.MISMATCH)
    _is_cancelled(alice, "m.mismatched_sas")
    exchange(alice, bob)
    assert bob.cancelled == Cancelled(
        "m.mismatched_sas", "The two sides saw different things.", by_us=False
    )
    assert bob.sent == []


def test_nothing_is_verified_before_their_done() -> None:
    """A cancel in its place says that our keys are not what they know."""
    alice, bob = _comparing()
    alice.decide(Decision.MATCH)
    exchange(alice, bob)
    bob.decide(Decision.MATCH)
    mac, done = bob.sent
    bob.sent.clear()
    alice.receive(bob.carry(mac))
    assert _state(alice).phase is Phase.WAITING_DONE
    assert alice.verified is None
    cancel = {"code": "m.key_mismatch", "reason": "x", "transaction_id": "txn"}
    alice.receive(bob.carry(done, type=messages.CANCEL, content=cancel))
    assert alice.verified is None
    assert alice.receive(bob.carry(done)) == Ignored("the verification is over")


@pytest.mark.parametrize("kind", sorted(messages.TYPES - {messages.CANCEL, messages.REQUEST}))
def test_a_message_too_early_cancels(kind: str) -> None:
    alice, bob = _pair()
    alice.ask()
    exchange(alice, bob)
    content = {"transaction_id": "txn", "from_device": ALICE.device_id}
    bob.receive(Message(kind, ALICE.user_id, content))
    _is_cancelled(bob, "m.unexpected_message")


def test_repetitions_are_ignored_and_second_versions_cancel() -> None:
    alice, bob = _ready()
    alice.decide(Decision.START)
    start = alice.carry(alice.sent[-1])
    exchange(alice, bob)
    assert bob.receive(start) == Ignored("a repeated message")
    changed = replace(start, content=start.content | {"x": 1})
    bob.receive(changed)
    _is_cancelled(bob, "m.unexpected_message")


def _strangers() -> list[tuple[str, dict[str, Any]]]:
    return [
        ("another person's message", {"sender": "@mallory:example.org"}),
        ("another verification's message", {"content": {"transaction_id": "other"}}),
        ("another room's message", {"room_id": "!other:example.org"}),
        ("another device's message", {"sender_device": "OTHERDEVICE"}),
    ]


@pytest.mark.parametrize(("reason", "change"), _strangers())
def test_what_comes_from_elsewhere_is_ignored(reason: str, change: dict[str, Any]) -> None:
    alice, bob = _comparing()
    cancel = Outgoing(
        messages.CANCEL, {"transaction_id": "txn", "code": "m.user", "reason": ""}, ALICE.user_id
    )
    assert bob.receive(alice.carry(cancel, **change)) == Ignored(reason)
    assert _state(bob).phase is Phase.COMPARING
    assert isinstance(bob.receive(alice.carry(cancel)), Cancelled)


def test_a_device_can_not_speak_for_another() -> None:
    alice, bob = _ready()
    alice.decide(Decision.START)
    start = alice.carry(alice.sent.pop(), sender_device="OTHERDEVICE")
    assert isinstance(bob.receive(start), Ignored)
    assert _state(bob).phase is Phase.READY
