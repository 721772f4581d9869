"""No JSON value is a crash, in any phase, and none but the right messages verifies anybody."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto import verification, verification_opening
from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.sas import Ephemeral
from antiphon.adapter.matrix.crypto.verification_messages import Message
from antiphon.adapter.matrix.crypto.verification_state import (
    Decision,
    Phase,
    Received,
    Verification,
    Verified,
)
from antiphon.testing.verifying import Person, comparing, exchange, made_up_keys, ready

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
NOW = 1_000_000

TEXT = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["m.sas.v1", "ALICEDEVICE", "txn", "\ud800", "\0", "=" * 44, "A" * 43, "é" * 43]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("from_device", "methods", "method", "key", "mac", "keys", "commitment", "hash", "code"),
        *("key_agreement_protocols", "hashes", "message_authentication_codes", "reason"),
        *("short_authentication_string", "key_agreement_protocol", "timestamp", "to", "msgtype"),
        *("message_authentication_code", "m.relates_to"),
    ]
)
CONTENTS = st.dictionaries(NAMES, JSON, max_size=6)


def _states() -> list[tuple[Verification, Ephemeral]]:
    """Alice in every phase that waits for a message of Bob's, and a bare start of Bob's."""
    found: list[tuple[Verification, Ephemeral]] = []

    def keep(person: Person) -> None:
        assert person.state is not None
        assert isinstance(person.ephemeral, Ephemeral)
        found.append((person.state, person.ephemeral))

    alice, bob = Person(ALICE, BOB), Person(BOB, ALICE)
    alice.ask()
    keep(alice)
    for starter in (0, 1):
        pair = ready(Person(ALICE, BOB), Person(BOB, ALICE))
        keep(pair[0])
        pair[starter].decide(Decision.START)
        while pair[0].sent or pair[1].sent:
            for sender, receiver in (pair, pair[::-1]):
                if sender.sent:
                    receiver.receive(sender.carry(sender.sent.pop(0)))
                    keep(pair[0])
    alice, bob = comparing(Person(ALICE, BOB), Person(BOB, ALICE))
    alice.decide(Decision.MATCH)
    keep(alice)
    alice, bob = comparing(Person(ALICE, BOB), Person(BOB, ALICE))
    alice.decide(Decision.MATCH)
    exchange(alice, bob)
    bob.decide(Decision.MATCH)
    alice.receive(bob.carry(bob.sent.pop(0)))
    keep(alice)
    return found


STATES = _states()


def test_every_phase_that_waits_is_covered() -> None:
    assert {state.phase for state, _ in STATES} >= {
        *(Phase.REQUEST_SENT, Phase.READY, Phase.START_SENT, Phase.ACCEPT_SENT),
        *(Phase.KEY_SENT, Phase.COMPARING, Phase.CONFIRMED, Phase.WAITING_DONE),
    }


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(messages.TYPES)), CONTENTS, st.integers(0, len(STATES) - 1))
def test_any_message_in_any_phase(kind: str, content: dict[str, Any], number: int) -> None:
    state, ephemeral = STATES[number]
    message = Message(kind, BOB.user_id, content | {"transaction_id": "txn"})
    # A key is used up by the step that takes it, so only its own state may give it.
    if state.phase in (Phase.KEY_SENT, Phase.ACCEPT_SENT):
        ephemeral = Ephemeral()
    step = verification.advance(state, Received(message, BOB), ephemeral, NOW)
    if state.phase is not Phase.WAITING_DONE or kind != messages.DONE:
        assert not isinstance(step.outcome, Verified)
    assert len(step.outgoing) <= 1


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*sorted(messages.TYPES), "m.room.message"]),
    CONTENTS,
    st.sampled_from([None, "!room:example.org"]),
    JSON,
)
def test_any_message_as_the_first(
    kind: str, content: dict[str, Any], room_id: str | None, transaction: object
) -> None:
    content = content | {"transaction_id": transaction}
    message = Message(kind, BOB.user_id, content, room_id, "$event", sent_ms=NOW)
    given_message = Received(message, BOB)
    verification_opening.open_request(ALICE, given_message, NOW)
    verification_opening.open_start(ALICE, given_message, Ephemeral(), NOW)
    verification.unknown_transaction(message)
    messages.transaction_of(message)
