"""Ids as types that say who mints them, and the derivations that must never change.

A derived id is the same however often it is derived: that is what makes a repeated send or a
restart harmless. Changing a derivation here would double answers after an upgrade.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from typing import NewType

# Minted by the surface's own world (Matrix: the homeserver); opaque to us.
UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
EventId = NewType("EventId", str)

# Minted by us, at random.
ChatId = NewType("ChatId", str)
SessionId = NewType("SessionId", str)
ThreadId = NewType("ThreadId", str)

# Derived by us.
TurnId = NewType("TurnId", str)
RunId = NewType("RunId", str)
TxnId = NewType("TxnId", str)


def turn_id(account: UserId, room_id: RoomId, event_id: EventId) -> TurnId:
    """The turn that `event_id` (its first question) opens for the bot `account` in `room_id`."""
    digest = hashlib.sha256("\x00".join((account, room_id, event_id)).encode()).digest()
    return TurnId("t" + b32encode(digest[:16]).decode().rstrip("=").lower())


def run_id(turn: TurnId, revision: int) -> RunId:
    """One asking of the agent for a turn; an edited question raises `revision`."""
    return RunId(f"{turn}.{revision}")


def root_txn(turn: TurnId, part: int, anew: int | None = None) -> TxnId:
    """Transaction id of the event that opens part `part` of the answer. `anew`: the revision that
    opens it again, where the first one was redacted because an answer came out shorter."""
    return TxnId(f"{turn}.{part}.root{'' if anew is None else anew}")


_ROOT_TXN = re.compile(r"(?P<turn>t[a-z2-7]{26})\.(?P<part>\d{1,9})\.root\d{0,9}")


def opened_by(txn: str) -> tuple[TurnId, int] | None:
    """The turn and part that an event sent as `root_txn` opens; None for every other id."""
    match = _ROOT_TXN.fullmatch(txn)
    return None if match is None else (TurnId(match["turn"]), int(match["part"]))


def redact_txn(turn: TurnId, event_id: EventId) -> TxnId:
    """Transaction id of the redaction of one of an answer's events."""
    return TxnId(f"{turn}.redact.{hashlib.sha256(event_id.encode()).hexdigest()[:24]}")


def partial_txn(turn: TurnId, part: int, epoch: int, step: int) -> TxnId:
    """Transaction id of a partial edit: `epoch` (the adapter's lease) keeps two lives of the
    adapter apart, `step` counts all partial edits of one life."""
    return TxnId(f"{turn}.{part}.p{epoch}-{step}")


def final_txn(turn: TurnId, part: int, revision: int) -> TxnId:
    """Transaction id of the final text of a part."""
    return TxnId(f"{turn}.{part}.final{revision}")
