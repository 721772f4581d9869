"""What encryption promises, judged by what lies on the homeserver and by what an independent client
could read of it. Pure; a Megolm message is taken apart here anew, without our own code.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from antiphon.adapter.matrix.transport.events import Event

KINDS: dict[str, str] = {
    "undecryptable": "an event that the independent client could not decrypt",
    "plaintext": "something of the bot stands in the clear in an encrypted room",
    "rotation": "a key was used for longer than the room's settings allow, or after a member left",
    "ratchet": "two events of the bot were encrypted with the same key: a ratchet went back",
}
ENCRYPTED = "m.room.encrypted"
CLEAR = ("m.room.redaction",)
"""What has nothing to hide: clients send it in the clear, too."""


class Sealed(msgspec.Struct, frozen=True):
    """One encrypted room: its history as it lies on the homeserver (`wire`), and the same events
    as an independent client reads them, those that it can't read left as they are.

    `unseen_ms`: for how long after encryption was switched on something in the clear may still
    have been under way, since the bot had not seen it yet."""

    wire: Sequence[Event]
    read: Sequence[Event]
    unseen_ms: int = 0


class Fault(msgspec.Struct, frozen=True):
    """What is wrong; `kind` is one of `KINDS`."""

    kind: str
    detail: str


def faults(bot: str, room: Sealed) -> list[Fault]:
    """Everything that is wrong in the room."""
    return [
        *_undecryptable(room),
        *_plaintext(bot, room),
        *_rotation(bot, room.wire),
        *_ratchet(bot, room.wire),
    ]


def count(bot: str, rooms: Mapping[str, Sealed]) -> tuple[int, int]:
    """How many encrypted events of the bot were judged, and how many events of anybody could not
    be decrypted."""
    judged = sum(
        event.type == ENCRYPTED and event.sender == bot and not event.redacted
        for room in rooms.values()
        for event in room.wire
    )
    return judged, sum(len(_undecryptable(room)) for room in rooms.values())


def ratchet_index(ciphertext: object) -> int | None:
    """Which message of its session a Megolm ciphertext is; None for what is none.

    A version byte 3, then fields as in protocol buffers: 0x08 and the index as a varint (Megolm
    specification, "Message format")."""
    if not isinstance(ciphertext, str):
        return None
    try:
        data = base64.b64decode(ciphertext + "=" * (-len(ciphertext) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if data[:2] != b"\x03\x08":
        return None
    index = 0
    for place, byte in enumerate(data[2:7]):
        index |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return index
    return None


def _undecryptable(room: Sealed) -> list[Fault]:
    return [
        Fault("undecryptable", f"{event.event_id} of {event.sender}, {_session(event)}")
        for event in room.read
        if event.type == ENCRYPTED and not event.redacted
    ]


def _plaintext(bot: str, room: Sealed) -> list[Fault]:
    since: int | None = None
    found: list[Fault] = []
    for event in room.wire:
        if event.type == "m.room.encryption" and since is None:
            since = event.origin_server_ts
        if since is None or event.sender != bot or event.state_key is not None:
            continue
        if event.type == ENCRYPTED or event.type in CLEAR:
            continue
        late = event.origin_server_ts - since
        if late >= room.unseen_ms:
            found.append(
                Fault("plaintext", f"{event.event_id}: {event.type}, {late} ms after encryption")
            )
    return found


def _rotation(bot: str, wire: Sequence[Event]) -> list[Fault]:
    """By the settings that the room began with; nothing changes them here."""
    settings = next((e.content for e in wire if e.type == "m.room.encryption"), {})
    most = settings.get("rotation_period_msgs")
    if not isinstance(most, int):
        return []
    used = Counter(
        str(event.content.get("session_id"))
        for event in wire
        if event.sender == bot and event.type == ENCRYPTED and not event.redacted
    )
    return [
        Fault("rotation", f"session {name}: {times} messages, {most} are allowed")
        for name, times in used.items()
        if times > most
    ]


def _ratchet(bot: str, wire: Sequence[Event]) -> list[Fault]:
    found: list[Fault] = []
    seen: dict[tuple[object, int], str] = {}
    for event in wire:
        if event.sender != bot or event.type != ENCRYPTED or event.redacted:
            continue
        index = ratchet_index(event.content.get("ciphertext"))
        if index is None:
            found.append(Fault("undecryptable", f"{event.event_id} is no Megolm message"))
            continue
        name = (event.content.get("session_id"), index)
        first = seen.setdefault(name, event.event_id)
        if first != event.event_id:
            found.append(
                Fault("ratchet", f"{event.event_id} as {first}: index {index}, {_session(event)}")
            )
    return found


def _session(event: Event) -> str:
    return f"session {event.content.get('session_id')}"
