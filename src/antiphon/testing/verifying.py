"""Two sides of an interactive verification in one process, and a network between them that a test
owns: it may deliver, hold back, repeat and change what it carries.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from antiphon.adapter.matrix.crypto import unpadded, verification, verification_opening
from antiphon.adapter.matrix.crypto.sas import (
    MAC_V2,
    Ephemeral,
    KeyAgreement,
    Shared,
    ShortAuth,
    emoji_of,
)
from antiphon.adapter.matrix.crypto.verification_messages import Keys, Message, Outgoing
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Compare,
    Decision,
    Ignored,
    Input,
    Outcome,
    ReadyToStart,
    Received,
    Step,
    Tick,
    Verification,
    Verified,
)

REQUEST_EVENT = "$request"


def made_up_keys(user_id: str, device_id: str, seed: int, *, master: bool = True) -> Keys:
    """Keys that look like keys; nothing is signed in a verification."""
    key = unpadded.encode(bytes([seed]) * 32)
    master_key = unpadded.encode(bytes([seed, seed + 1]) * 16) if master else None
    return Keys(user_id, device_id, key, master_key)


class FixedAgreement:
    """A key agreement with a given private key, by the words of the specification: a second
    implementation beside vodozemac's, and the means to replay a recorded verification."""

    def __init__(self, private: bytes):
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = unpadded.encode(self._private.public_key().public_bytes_raw())
        self.shared: Shared | None = None

    def agree(self, their_public: str) -> Shared:
        theirs = X25519PublicKey.from_public_bytes(unpadded.decode(their_public) or b"")
        self.shared = _FixedShared(self._private.exchange(theirs))
        return self.shared


class _FixedShared:
    def __init__(self, secret: bytes):
        self._secret = secret

    def _derive(self, size: int, info: str) -> bytes:
        return HKDF(hashes.SHA256(), size, salt=None, info=info.encode()).derive(self._secret)

    def short_auth(self, info: str) -> ShortAuth:
        number = int.from_bytes(self._derive(6, info))
        emoji = emoji_of(bytes(number >> 42 - 6 * place & 63 for place in range(7)))
        first, second, third = ((number >> shift & 8191) + 1000 for shift in (35, 22, 9))
        return ShortAuth(emoji, (first, second, third))

    def mac(self, method: str, text: str, info: str) -> str:
        mac = hmac.digest(self._derive(32, info), text.encode(), hashlib.sha256)
        return unpadded.encode(mac) if method == MAC_V2 else libolm_base64(mac)


def libolm_base64(data: bytes) -> str:
    """The old MAC method's base64: libolm wrote the letters over the bytes that it had yet to
    read."""
    size = len(unpadded.encode(data))
    both = bytearray(data.ljust(size + 4, b"\0"))
    for group in range((len(data) + 2) // 3):
        chunk = bytes(both[3 * group : min(3 * group + 3, len(data))])
        letters = unpadded.encode(chunk).encode()
        both[4 * group : 4 * group + len(letters)] = letters
    return both[:size].decode()


class Person:
    """One side: what it believes about the other (`believes`), its state, and all that came out."""

    def __init__(self, us: Keys, believes: Keys, ephemeral: KeyAgreement | None = None):
        self.us = us
        self.believes = believes
        self.ephemeral = ephemeral or Ephemeral()
        self.state: Verification | None = None
        self.outcomes: list[Outcome] = []
        self.sent: list[Outgoing] = []
        self.now_ms = 1_000_000

    @property
    def shown(self) -> ShortAuth | None:
        """What the person sees on the screen."""
        found = [item.short_auth for item in self.outcomes if isinstance(item, Compare)]
        return found[-1] if found else None

    @property
    def verified(self) -> Verified | None:
        found = [item for item in self.outcomes if isinstance(item, Verified)]
        assert len(found) < 2
        return found[0] if found else None

    @property
    def cancelled(self) -> Cancelled | None:
        found = [item for item in self.outcomes if isinstance(item, Cancelled)]
        assert len(found) < 2
        return found[0] if found else None

    def ask(self, room_id: str | None = None) -> None:
        """Sends a request to the other side."""
        if room_id is None:
            devices = (self.believes.device_id,)
            self.took(
                verification_opening.request_to_devices(
                    self.us, self.believes.user_id, devices, "txn", self.now_ms
                )
            )
            return
        content = verification_opening.room_request_content(self.us, self.believes.user_id)
        self.sent.append(Outgoing("m.room.message", content, self.believes.user_id, (), room_id))
        self.state = verification_opening.request_in_room(
            self.us, self.believes.user_id, room_id, REQUEST_EVENT, self.now_ms
        )

    def give(self, given: Input) -> Outcome | None:
        """One step; the first message may open the verification."""
        if self.state is not None:
            return self.took(
                verification.advance(self.state, given, self.ephemeral, self.now_ms)
            ).outcome
        if not isinstance(given, Received):
            return None
        opened: Step | Ignored = verification_opening.open_request(self.us, given, self.now_ms)
        if isinstance(opened, Ignored):
            opened = verification_opening.open_start(self.us, given, self.ephemeral, self.now_ms)
        if isinstance(opened, Ignored):
            self.outcomes.append(opened)
            return opened
        return self.took(opened).outcome

    def decide(self, decision: Decision) -> Outcome | None:
        return self.give(decision)

    def wait(self, milliseconds: int) -> Outcome | None:
        self.now_ms += milliseconds
        return self.give(Tick())

    def took(self, step: Step) -> Step:
        self.state = step.state
        self.sent.extend(step.outgoing)
        if step.outcome is not None:
            self.outcomes.append(step.outcome)
        return step

    def carry(self, outgoing: Outgoing, **changes: Any) -> Message:
        """What the homeserver makes of something that this side sent."""
        in_room = outgoing.room_id is not None
        message: dict[str, Any] = {
            "type": outgoing.type,
            "sender": self.us.user_id,
            "content": outgoing.content,
            "room_id": outgoing.room_id,
            "event_id": REQUEST_EVENT if in_room else None,
            "sent_ms": self.now_ms if in_room else 0,
        }
        return Message(**(message | changes))

    def receive(self, message: Message) -> Outcome | None:
        return self.give(Received(message, self.believes))


def exchange(first: Person, second: Person) -> None:
    """Delivers everything, in order, until nobody has anything to say."""
    while first.sent or second.sent:
        for sender, receiver in ((first, second), (second, first)):
            while sender.sent:
                receiver.receive(sender.carry(sender.sent.pop(0)))


def ready(first: Person, second: Person, room_id: str | None = None) -> tuple[Person, Person]:
    """The first asked and the second accepted: either may start."""
    first.ask(room_id)
    exchange(first, second)
    second.decide(Decision.ACCEPT)
    exchange(first, second)
    assert first.outcomes[-1] == second.outcomes[-1] == ReadyToStart()
    return first, second


def comparing(first: Person, second: Person) -> tuple[Person, Person]:
    """The first started: both see the same."""
    ready(first, second)
    first.decide(Decision.START)
    exchange(first, second)
    assert first.shown is not None
    assert first.shown == second.shown
    return first, second
