"""The messages of an interactive verification, by to-device messages or in a room (specification,
"Key verification framework"). No I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from antiphon.adapter.matrix.crypto.sas import Side

SAS = "m.sas.v1"
ROOM_MESSAGE = "m.room.message"
REQUEST = "m.key.verification.request"
READY = "m.key.verification.ready"
START = "m.key.verification.start"
ACCEPT = "m.key.verification.accept"
KEY = "m.key.verification.key"
MAC = "m.key.verification.mac"
DONE = "m.key.verification.done"
CANCEL = "m.key.verification.cancel"
TYPES = frozenset({REQUEST, READY, START, ACCEPT, KEY, MAC, DONE, CANCEL})


class CancelCode(StrEnum):
    """Why a verification ended; from others any text can come."""

    USER = "m.user"
    TIMEOUT = "m.timeout"
    UNKNOWN_TRANSACTION = "m.unknown_transaction"
    UNKNOWN_METHOD = "m.unknown_method"
    UNEXPECTED_MESSAGE = "m.unexpected_message"
    KEY_MISMATCH = "m.key_mismatch"
    INVALID_MESSAGE = "m.invalid_message"
    ACCEPTED = "m.accepted"
    MISMATCHED_COMMITMENT = "m.mismatched_commitment"
    MISMATCHED_SAS = "m.mismatched_sas"


class Keys(msgspec.Struct, frozen=True):
    """A device with the keys that are verified: its Ed25519 key and its user's master key (base64).

    Of others: from the device list, at the beginning; never changed by a later look at it. Of our
    own: `master_key` only if its private part, or its verification, proves it ours."""

    user_id: str
    device_id: str
    device_key: str
    master_key: str | None = None

    @property
    def side(self) -> Side:
        """Who it is in the texts that secrets are bound to."""
        return Side(self.user_id, self.device_id)


class Flow(msgspec.Struct, frozen=True):
    """Which verification: by `transaction_id` to devices, or in `room_id` by its request's event
    id."""

    transaction_id: str
    room_id: str | None = None

    def mark(self, content: dict[str, Any]) -> dict[str, Any]:
        """`content` with what names this verification."""
        if self.room_id is None:
            return content | {"transaction_id": self.transaction_id}
        relation = {"rel_type": "m.reference", "event_id": self.transaction_id}
        return content | {"m.relates_to": relation}


class Message(msgspec.Struct, frozen=True):
    """A message of a verification, decrypted if it was encrypted.

    `content`: of an encrypted room event with the outer `m.relates_to` put in where it lacks one.
    `sender_device`: the device that the encryption proves; None where it came in the clear.
    `sent_ms`: `origin_server_ts` of a room event."""

    type: str
    sender: str
    content: dict[str, Any]
    room_id: str | None = None
    event_id: str | None = None
    sender_device: str | None = None
    sent_ms: int = 0


class Outgoing(msgspec.Struct, frozen=True):
    """A message to send: into `room_id`, or else to these devices of `user_id`."""

    type: str
    content: dict[str, Any]
    user_id: str
    device_ids: tuple[str, ...] = ()
    room_id: str | None = None


def transaction_of(message: Message) -> str | None:
    """Which verification `message` belongs to; None where it names none. A request in a room is
    its own."""
    if message.room_id is None:
        transaction = message.content.get("transaction_id")
    elif message.type == ROOM_MESSAGE:
        transaction = message.event_id
    else:
        relation = message.content.get("m.relates_to")
        if not isinstance(relation, dict) or relation.get("rel_type") != "m.reference":
            return None
        transaction = relation.get("event_id")
    return transaction if isinstance(transaction, str) and transaction else None


def from_device(message: Message) -> str | None:
    """The device that `message` says it comes from: whose keys to look up."""
    device_id = message.content.get("from_device")
    return device_id if isinstance(device_id, str) and device_id else None
