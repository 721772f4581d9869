"""The values of an interactive verification: its state, what goes in and what comes out. No I/O."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from antiphon.adapter.matrix.crypto.sas import Agreed, ShortAuth
from antiphon.adapter.matrix.crypto.verification_messages import Flow, Keys, Message, Outgoing


class Phase(StrEnum):
    """Where a verification stands, as seen from our side."""

    REQUEST_SENT = "request_sent"
    REQUEST_RECEIVED = "request_received"  # a person must decide
    READY = "ready"  # either side may start
    START_SENT = "start_sent"
    START_RECEIVED = "start_received"  # without a request: a person must decide
    ACCEPT_SENT = "accept_sent"
    KEY_SENT = "key_sent"
    COMPARING = "comparing"  # a person must decide
    CONFIRMED = "confirmed"  # our person agreed, their MAC has not come
    WAITING_DONE = "waiting_done"  # both MACs are good
    DONE = "done"
    CANCELLED = "cancelled"


class Decision(StrEnum):
    """What a person, or a policy for them, decided."""

    ACCEPT = "accept"  # go along with a request, or a start without one
    START = "start"  # begin comparing
    MATCH = "match"  # both see the same
    MISMATCH = "mismatch"
    CANCEL = "cancel"


class Received(msgspec.Struct, frozen=True):
    """A message, with the keys of (sender, `from_device(message)`) where they are known: asked for
    when a `request`, `ready` or `start` comes, ignored where the device is fixed already."""

    message: Message
    keys: Keys | None = None


class Tick(msgspec.Struct, frozen=True):
    """Time went on."""


Input = Received | Decision | Tick


class Limits(msgspec.Struct, frozen=True):
    """How long a verification may take in all, and how long nothing may happen in it
    (milliseconds)."""

    total_ms: int = 600_000
    idle_ms: int = 120_000
    future_ms: int = 300_000
    """How far a request's time may be ahead of ours."""


class Asked(msgspec.Struct, frozen=True):
    """Somebody wants to verify; `supported`: in a way that we know. Decide ACCEPT or CANCEL."""

    supported: bool


class ReadyToStart(msgspec.Struct, frozen=True):
    """Both are there; decide START, or wait for theirs."""


class Compare(msgspec.Struct, frozen=True):
    """Show this; decide MATCH or MISMATCH. `strings`: what the other side can show (`emoji`,
    `decimal`)."""

    short_auth: ShortAuth
    strings: tuple[str, ...]


class Verified(msgspec.Struct, frozen=True):
    """These keys are the other side's; None for what its MACs did not cover."""

    user_id: str
    device_id: str
    device_key: str | None
    master_key: str | None


class Cancelled(msgspec.Struct, frozen=True):
    """It is over, nothing is verified. `reason` is text of ours, or unchecked text of theirs."""

    code: str
    reason: str
    by_us: bool


class Ignored(msgspec.Struct, frozen=True):
    """Nothing happened, and why: fit for a log line."""

    reason: str


Outcome = Asked | ReadyToStart | Compare | Verified | Cancelled | Ignored


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A verification as seen from our side. Times are wall clock milliseconds of the caller."""

    flow: Flow
    us: Keys
    their_user: str
    phase: Phase
    began_ms: int
    last_ms: int
    requested: bool = True
    """False: begun by a start alone (deprecated, still to be handled)."""
    asked_devices: tuple[str, ...] = ()
    """To which devices our request went."""
    supported: bool = True
    them: Keys | None = None
    start: bytes = b""
    """Canonical content of the start that counts."""
    we_started: bool = False
    agreed: Agreed | None = None
    commitment: str = ""
    checked: Verified | None = None
    """What their MACs proved."""
    seen: frozenset[bytes] = frozenset()
    """Digests of the messages that were taken in."""

    @property
    def over(self) -> bool:
        """Whether nothing more can happen."""
        return self.phase in (Phase.DONE, Phase.CANCELLED)


class Step(msgspec.Struct, frozen=True):
    """The state after an input, what is to be sent (in this order), and what came out."""

    state: Verification
    outgoing: tuple[Outgoing, ...] = ()
    outcome: Outcome | None = None
