"""Interactive verification between two sides, where everything goes well."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto import verification_opening
from antiphon.adapter.matrix.crypto.verification_messages import Message
from antiphon.adapter.matrix.crypto.verification_state import (
    Asked,
    Cancelled,
    Decision,
    Ignored,
    Phase,
    Verified,
)
from antiphon.testing.verifying import Person, comparing, exchange, made_up_keys, ready

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
OTHER = made_up_keys("@bob:example.org", "OTHERDEVICE", 5)


def _pair() -> tuple[Person, Person]:
    return Person(ALICE, BOB), Person(BOB, ALICE)


def _ready(room_id: str | None = None) -> tuple[Person, Person]:
    return ready(*_pair(), room_id)


@pytest.mark.parametrize("room_id", [None, "!room:example.org"])
@pytest.mark.parametrize("alice_starts", [True, False])
@pytest.mark.parametrize("alice_first", [True, False])
def test_both_sides_verify_each_other(
    room_id: str | None, alice_starts: bool, alice_first: bool
) -> None:
    alice, bob = _ready(room_id)
    (alice if alice_starts else bob).decide(Decision.START)
    exchange(alice, bob)
    assert alice.shown is not None
    assert alice.shown == bob.shown
    people = (alice, bob) if alice_first else (bob, alice)
    for person in people:
        person.decide(Decision.MATCH)
        exchange(alice, bob)
    assert alice.verified == Verified(*_fields(BOB))
    assert bob.verified == Verified(*_fields(ALICE))


def _fields(keys: messages.Keys) -> tuple[str, str, str | None, str | None]:
    return keys.user_id, keys.device_id, keys.device_key, keys.master_key


def test_two_devices_of_one_account_verify_each_other() -> None:
    first, second = Person(BOB, OTHER), Person(OTHER, BOB)
    first.ask()
    exchange(first, second)
    second.decide(Decision.ACCEPT)
    exchange(first, second)
    second.decide(Decision.START)
    exchange(first, second)
    for person in (first, second):
        person.decide(Decision.MATCH)
    exchange(first, second)
    assert first.verified == Verified(*_fields(OTHER))
    assert second.verified == Verified(*_fields(BOB))


def test_both_confirm_at_once() -> None:
    alice, bob = comparing(*_pair())
    alice.decide(Decision.MATCH)
    bob.decide(Decision.MATCH)
    exchange(alice, bob)
    assert alice.verified
    assert bob.verified


@pytest.mark.parametrize(
    ("room_id", "same_user"), [(None, True), (None, False), ("!room:example.org", False)]
)
def test_two_starts_at_once_are_one(room_id: str | None, same_user: bool) -> None:
    """That of the lesser user id counts, of one user that of the lesser device id."""
    keys = replace(BOB, user_id=ALICE.user_id) if same_user else BOB
    alice, bob = Person(ALICE, keys), Person(keys, ALICE)
    alice.ask(room_id)
    exchange(alice, bob)
    bob.decide(Decision.ACCEPT)
    exchange(alice, bob)
    alice.decide(Decision.START)
    bob.decide(Decision.START)
    exchange(alice, bob)
    assert alice.state is not None
    assert alice.state.we_started
    assert bob.state is not None
    assert not bob.state.we_started
    assert alice.state.start == bob.state.start
    for person in (alice, bob):
        person.decide(Decision.MATCH)
    exchange(alice, bob)
    assert alice.verified
    assert bob.verified


def test_a_start_without_a_request_is_handled() -> None:
    """Deprecated; no `done` is owed there."""
    alice, bob = _ready()
    alice.decide(Decision.START)
    bob.state = None
    bob.receive(alice.carry(alice.sent.pop()))
    assert bob.outcomes[-1] == Asked(supported=True)
    assert bob.sent == []
    bob.decide(Decision.ACCEPT)
    exchange(alice, bob)
    for person in (alice, bob):
        person.decide(Decision.MATCH)
    exchange(alice, bob)
    assert bob.verified == Verified(*_fields(ALICE))
    assert alice.verified


def test_the_device_that_takes_a_request_is_the_one_that_is_verified() -> None:
    """The others that were asked are told."""
    first, second = Person(ALICE, BOB), Person(BOB, ALICE)
    step = verification_opening.request_to_devices(
        ALICE, BOB.user_id, ("OTHERDEVICE", "BOBDEVICE", "THIRD"), "txn", first.now_ms
    )
    [request] = first.took(step).outgoing
    assert request.device_ids == ("OTHERDEVICE", "BOBDEVICE", "THIRD")
    exchange(first, second)
    second.decide(Decision.ACCEPT)
    first.receive(second.carry(second.sent.pop()))
    [told] = first.sent
    assert (told.type, told.content["code"]) == (messages.CANCEL, "m.accepted")
    assert told.device_ids == ("OTHERDEVICE", "THIRD")


def test_a_refusal_of_one_device_is_told_to_all() -> None:
    first, second = Person(ALICE, BOB), Person(BOB, ALICE)
    step = verification_opening.request_to_devices(
        ALICE, BOB.user_id, ("OTHERDEVICE", "BOBDEVICE"), "txn", first.now_ms
    )
    first.took(step)
    exchange(first, second)
    second.decide(Decision.CANCEL)
    first.receive(second.carry(second.sent.pop()))
    assert first.cancelled is not None
    assert first.cancelled.code == "m.user"
    [told] = first.sent
    assert told.content["code"] == "m.user"
    assert told.device_ids == ("OTHERDEVICE", "BOBDEVICE")


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        (messages.READY, {"from_device": "MYOTHER"}, "m.accepted"),
        (messages.CANCEL, {"code": "m.user", "reason": ""}, "m.user"),
    ],
)
def test_another_device_of_ours_can_answer_in_a_room(
    kind: str, content: dict[str, Any], code: str
) -> None:
    alice, bob = _pair()
    alice.ask("!room:example.org")
    exchange(alice, bob)
    relation = {"rel_type": "m.reference", "event_id": "$request"}
    ours = Message(kind, BOB.user_id, content | {"m.relates_to": relation}, "!room:example.org")
    outcome = bob.receive(ours)
    assert isinstance(outcome, Cancelled)
    assert outcome.code == code
    assert bob.sent == []


def test_our_own_messages_come_back_in_a_room_and_do_nothing() -> None:
    alice, bob = _pair()
    alice.ask("!room:example.org")
    exchange(alice, bob)
    bob.decide(Decision.ACCEPT)
    echo = bob.carry(bob.sent[0])
    exchange(alice, bob)
    assert isinstance(bob.receive(echo), Ignored)
    assert bob.state is not None
    assert bob.state.phase is Phase.READY
