"""Any order, loss, repetition and change of messages, and a person in the middle: nobody ever ends
verified with what the other did not show and does not hold.

The two people are honest and look: they say "match" only if both see the same. Everything between
them belongs to the attacker.
"""

from __future__ import annotations

from typing import Any

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.sas import Ephemeral
from antiphon.adapter.matrix.crypto.verification_messages import Keys, Message
from antiphon.adapter.matrix.crypto.verification_state import Decision
from antiphon.testing.verifying import Person, exchange, made_up_keys

ALICE = made_up_keys("@alice:example.org", "ALICEDEVICE", 1)
BOB = made_up_keys("@bob:example.org", "BOBDEVICE", 3)
MALLORY = made_up_keys("", "", 5)
ROOM = "!room:example.org"

MALLORYS_KEY = Ephemeral().public
VALUES = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.sampled_from(
        [
            *("", "A" * 43, MALLORYS_KEY, "m.sas.v1", "ALICEDEVICE", "BOBDEVICE", "m.user"),
            *("hkdf-hmac-sha256", "hkdf-hmac-sha256.v2", "emoji", "decimal"),
        ]
    ),
    st.lists(st.sampled_from(["m.sas.v1", "emoji", "decimal", "hkdf-hmac-sha256"]), max_size=2),
    st.dictionaries(
        st.sampled_from(["ed25519:ALICEDEVICE", "ed25519:BOBDEVICE", "ed25519:x"]),
        st.sampled_from(["A" * 43, "x"]),
        max_size=2,
    ),
)
NAMES = st.sampled_from(
    [
        *("from_device", "methods", "method", "key", "mac", "keys", "commitment", "hash"),
        *("message_authentication_code", "message_authentication_codes", "code"),
        *("short_authentication_string", "transaction_id", "m.relates_to", "timestamp"),
    ]
)
KINDS = st.sampled_from(sorted(messages.TYPES))
ACTIONS = st.one_of(
    # Mostly well, so that runs get far.
    st.tuples(st.just("flow"), st.booleans()),
    st.tuples(st.just("flow"), st.booleans()),
    st.tuples(st.just("deliver"), st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("drop"), st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("repeat"), st.booleans(), st.integers(0, 30)),
    st.tuples(st.just("change"), st.booleans(), st.integers(0, 5), NAMES, VALUES),
    st.tuples(st.just("retype"), st.booleans(), st.integers(0, 30), KINDS),
    st.tuples(st.just("reflect"), st.booleans(), st.integers(0, 30)),
    st.tuples(st.just("decide"), st.booleans(), st.sampled_from(list(Decision))),
    st.tuples(st.just("person"), st.booleans()),
    st.tuples(st.just("person"), st.booleans()),
    st.tuples(st.just("wait"), st.booleans(), st.sampled_from([1, 60_000, 120_000])),
)


class World:
    """Alice and Bob, and everything that was ever sent."""

    def __init__(self, alice: Person, bob: Person):
        self.people = (alice, bob)
        self.past: list[tuple[Person, Message]] = []
        self.agreed: list[Person] = []

    def act(self, action: tuple[Any, ...]) -> None:
        kind, first, *rest = action
        person, other = self.people if first else self.people[::-1]
        self._collect()
        if kind == "flow":
            exchange(*self.people)
        elif kind == "decide":
            self._decide(person, rest[0])
        elif kind == "person":
            self._behave(person)
        elif kind == "wait":
            person.wait(rest[0])
        elif kind in ("deliver", "drop", "change") and rest[0] < len(person.sent):
            message = person.carry(person.sent.pop(rest[0]))
            if kind == "change":
                message = replace(message, content=message.content | {rest[1]: rest[2]})
            if kind != "drop":
                other.receive(message)
        elif kind in ("repeat", "retype", "reflect") and rest[0] < len(self.past):
            sender, message = self.past[rest[0]]
            receiver = self.people[1] if sender is self.people[0] else self.people[0]
            if kind == "retype":
                message = replace(message, type=rest[1])
            if kind == "reflect":  # one's own message, as if it came from the other
                receiver, message = sender, replace(message, sender=sender.believes.user_id)
            receiver.receive(message)

    def _collect(self) -> None:
        for person in self.people:
            known = [message for _sender, message in self.past]
            for outgoing in person.sent:
                message = person.carry(outgoing)
                if message not in known:
                    self.past.append((person, message))

    def _decide(self, person: Person, decision: Decision) -> None:
        if decision is Decision.MATCH and not self._same():
            decision = Decision.MISMATCH  # people look
        if decision is Decision.MATCH:
            self.agreed.append(person)
        person.decide(decision)

    def _behave(self, person: Person) -> None:
        """What an honest person does next."""
        for decision in (Decision.ACCEPT, Decision.START):
            person.decide(decision)
        if person.shown is not None and self.people[0].shown and self.people[1].shown:
            self._decide(person, Decision.MATCH)

    def _same(self) -> bool:
        shown = [person.shown for person in self.people]
        return shown[0] is not None and shown[0] == shown[1]

    def check(self, real: dict[str, Keys]) -> None:
        """Whoever is verified showed the same on both sides, and holds the keys."""
        for person in self.people:
            verified = person.verified
            if verified is None:
                continue
            theirs = real[person.believes.device_id]
            assert person in self.agreed
            assert self._same()
            assert (verified.user_id, verified.device_id) == (theirs.user_id, theirs.device_id)
            assert verified.device_key in (None, theirs.device_key)
            assert verified.master_key in (None, theirs.master_key)
            assert verified.device_key or verified.master_key
            assert person.cancelled is None
            event("somebody is verified")


LIES = st.sampled_from(["none", "device_key", "master_key", "both"])


def _believed(keys: Keys, lie: str) -> Keys:
    """What the homeserver says of them."""
    changes = {
        name: getattr(MALLORY, name)
        for name in ("device_key", "master_key")
        if lie in (name, "both")
    }
    return replace(keys, **changes)


@settings(max_examples=1500, deadline=None)
@given(st.lists(ACTIONS, max_size=40), LIES, LIES, st.sampled_from([None, ROOM]))
def test_nobody_is_verified_who_is_not(
    actions: list[tuple[Any, ...]], lie_to_alice: str, lie_to_bob: str, room_id: str | None
) -> None:
    alice = Person(ALICE, _believed(BOB, lie_to_alice))
    bob = Person(BOB, _believed(ALICE, lie_to_bob))
    world = World(alice, bob)
    alice.ask(room_id)
    for action in actions:
        world.act(action)
        world.check({"ALICEDEVICE": ALICE, "BOBDEVICE": BOB})
    for _ in range(4):  # and then everything goes on undisturbed
        for first in (True, False):
            world.act(("person", first))
            world.act(("flow", first))
    world.check({"ALICEDEVICE": ALICE, "BOBDEVICE": BOB})
    for person in world.people:
        if person.state is not None and person.state.over:
            assert (person.verified is None) is (person.cancelled is not None)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.booleans())
def test_an_undisturbed_verification_always_succeeds(
    order: list[tuple[bool, bool]], in_room: bool
) -> None:
    """Each side's messages arrive in their order, the sides and the people at any pace, twice."""
    alice, bob = Person(ALICE, BOB), Person(BOB, ALICE)
    world = World(alice, bob)
    alice.ask(ROOM if in_room else None)
    for deliver, first in [
        *order,
        *[(True, True), (True, False), (False, True), (False, False)] * 9,
    ]:
        person, other = world.people if first else world.people[::-1]
        if not deliver:
            world.act(("person", first))
        elif person.sent:
            message = person.carry(person.sent.pop(0))
            other.receive(message)
            other.receive(message)
    assert alice.verified is not None
    assert bob.verified is not None
    assert alice.shown == bob.shown


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.booleans())
def test_somebody_in_the_middle_is_seen(alice_starts: bool, fake_keys: bool) -> None:
    """Mallory runs one honest verification with each, under the other's name, and even has the
    homeserver give out keys of hers: the strings differ."""
    mallory_as_bob = replace(MALLORY, user_id=BOB.user_id, device_id=BOB.device_id)
    mallory_as_alice = replace(MALLORY, user_id=ALICE.user_id, device_id=ALICE.device_id)
    alice = Person(ALICE, mallory_as_bob if fake_keys else BOB)
    bob = Person(BOB, mallory_as_alice if fake_keys else ALICE)
    to_alice, to_bob = Person(mallory_as_bob, ALICE), Person(mallory_as_alice, BOB)
    for asker, asked in ((alice, to_alice), (to_bob, bob)):
        asker.ask()
        exchange(asker, asked)
        asked.decide(Decision.ACCEPT)
        exchange(asker, asked)
        (asker if alice_starts else asked).decide(Decision.START)
        exchange(asker, asked)
    assert alice.shown is not None
    assert bob.shown is not None
    assume(alice.shown != bob.shown)  # but for one case in 2**42
    for person, middle in ((alice, to_alice), (bob, to_bob)):
        middle.decide(Decision.MATCH)
        exchange(person, middle)
        person.decide(Decision.MISMATCH)
        exchange(person, middle)
        assert person.verified is None
        assert middle.verified is None
