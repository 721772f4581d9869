"""A verification takes ten minutes at most, and two without a message; nothing comes too early or
twice in its last steps."""

from __future__ import annotations

from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification
from antiphon.adapter.matrix.crypto.verification_messages import Message
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Decision,
    Ignored,
    ReadyToStart,
    Received,
)
from antiphon.testing.verifying import Person, comparing, exchange, made_up_keys

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
OTHER = made_up_keys("@bob:example.org", "OTHERDEVICE", 5)


def _pair() -> tuple[Person, Person]:
    return Person(ALICE, BOB), Person(BOB, ALICE)


def test_time_limits() -> None:
    alice, bob = comparing(*_pair())
    assert alice.wait(119_999) is None
    outcome = alice.wait(1)
    assert isinstance(outcome, Cancelled)
    assert outcome.code == "m.timeout"
    exchange(alice, bob)
    assert bob.cancelled is not None
    assert alice.state is not None
    assert verification.deadline_ms(alice.state) == 1_000_000 + 120_000


def test_ten_minutes_is_the_end_of_a_request() -> None:
    alice, _bob = _pair()
    alice.ask()
    assert alice.wait(599_999) is None
    assert isinstance(alice.wait(1), Cancelled)


def test_a_prompt_that_nobody_answers_goes_away_quietly() -> None:
    alice, bob = _pair()
    alice.ask()
    exchange(alice, bob)
    assert isinstance(bob.wait(120_000), Cancelled)
    assert bob.sent == []


def test_a_late_message_comes_too_late() -> None:
    alice, bob = comparing(*_pair())
    bob.decide(Decision.MATCH)
    mac = bob.carry(bob.sent.pop())
    alice.now_ms += 120_000
    alice.receive(mac)
    assert alice.cancelled is not None
    assert alice.cancelled.code == "m.timeout"
    assert alice.verified is None


def test_their_done_before_our_person_decided_cancels() -> None:
    """Their MACs alone are not enough: nobody here has compared anything."""
    alice, bob = comparing(*_pair())
    bob.decide(Decision.MATCH)
    exchange(alice, bob)
    assert alice.state is not None
    assert alice.state.checked is not None
    alice.receive(Message("m.key.verification.done", BOB.user_id, {"transaction_id": "txn"}))
    assert alice.cancelled is not None
    assert alice.cancelled.code == "m.unexpected_message"
    assert alice.verified is None


def test_a_second_mac_cancels() -> None:
    alice, bob = comparing(*_pair())
    bob.decide(Decision.MATCH)
    mac = bob.carry(bob.sent[-1])
    exchange(alice, bob)
    alice.receive(replace(mac, content=mac.content | {"x": 1}))
    assert alice.cancelled is not None
    assert alice.cancelled.code == "m.unexpected_message"


def test_steps_need_the_keys_of_the_device() -> None:
    """A ready of a device that is not known yet can come again once it is."""
    alice, bob = _pair()
    alice.ask()
    exchange(alice, bob)
    bob.decide(Decision.ACCEPT)
    ready = bob.carry(bob.sent.pop())
    assert isinstance(alice.give(Received(ready, None)), Ignored)
    assert isinstance(alice.give(Received(ready, OTHER)), Ignored)
    assert alice.give(Received(ready, BOB)) == ReadyToStart()
