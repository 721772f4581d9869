"""Reading the messages of rooms: Megolm in. A message is read if its ciphertext is genuine, it was
written for this room, by the sender that the homeserver names, and is not another one repeated.
Functions over a Connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.names import is_name
from antiphon.adapter.matrix.crypto.room_keys import VOUCHED
from antiphon.adapter.matrix.crypto.store import devices, inbound_groups, replays, users, withheld
from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupName, GroupRow
from antiphon.adapter.matrix.crypto.values import (
    MEGOLM,
    Decrypted,
    Me,
    Reason,
    Trust,
    Unreadable,
)
from antiphon.adapter.matrix.crypto.vault import Vault
from antiphon.adapter.matrix.transport import json_body


class _Event(msgspec.Struct, frozen=True):
    """What matters of an encrypted event. `claimed` is the sender key that it names, if any."""

    room_id: str
    event_id: str
    sender: str
    session_id: str
    claimed: str
    message: vodozemac.MegolmMessage
    relates_to: Any

    def unreadable(
        self, reason: Reason, detail: str, code: str = "", *, may_pass: bool = False
    ) -> Unreadable:
        return Unreadable(reason, detail, code, self.session_id, self.claimed, may_pass)


def decrypt(
    connection: Connection, vault: Vault, me: Me, room_id: str, raw: Mapping[str, Any], now_ms: int
) -> Decrypted | Unreadable:
    """Reads one `m.room.encrypted` event of the room; the same event can be read again, ever."""
    event = _read(room_id, raw)
    if isinstance(event, Unreadable):
        return event
    rows = inbound_groups.of(connection, room_id, event.session_id)
    if not rows:
        return _no_key(connection, event)
    # First those that the sender vouches for: a stranger's row of the same name proves nothing.
    rows.sort(key=lambda row: (row.user_id != event.sender, row.source not in VOUCHED))
    first: Unreadable | None = None
    for row in rows:
        found = _with(connection, vault, me, event, row, now_ms)
        if isinstance(found, Decrypted):
            return found
        first = first or found
    assert first is not None
    vouched = any(row.source in VOUCHED and row.user_id == event.sender for row in rows)
    if not vouched and first.reason in ("bad_mac", "wrong_sender"):
        return msgspec.structs.replace(first, may_pass=True)
    return first


def _read(room_id: str, raw: Mapping[str, Any]) -> _Event | Unreadable:
    content, event_id, sender = raw.get("content"), raw.get("event_id"), raw.get("sender")
    if not isinstance(content, dict) or not is_name(event_id) or not is_name(sender):
        return Unreadable("malformed", "no content, event id or sender")
    algorithm = content.get("algorithm")
    if algorithm != MEGOLM:
        return Unreadable("unknown_algorithm", repr(algorithm)[:100])
    session_id, ciphertext = content.get("session_id"), content.get("ciphertext")
    claimed = content.get("sender_key")
    claimed = claimed if is_name(claimed) else ""
    if not is_name(session_id) or not isinstance(ciphertext, str):
        return Unreadable("malformed", "no session or no ciphertext")
    try:
        message = vodozemac.MegolmMessage.from_base64(ciphertext)
    except ValueError as error:
        return Unreadable("malformed", str(error), "", session_id, claimed)
    relates_to = content.get("m.relates_to")
    return _Event(room_id, event_id, sender, session_id, claimed, message, relates_to)


def _no_key(connection: Connection, event: _Event) -> Unreadable:
    code = withheld.code(connection, event.room_id, event.session_id, event.sender)
    if code is not None:
        return event.unreadable("withheld", "its sender gives us no key", code, may_pass=True)
    if inbound_groups.in_another_room(connection, event.room_id, event.session_id):
        return event.unreadable("wrong_room", "its session belongs to another room", may_pass=True)
    return event.unreadable("no_key", "its key has not come", may_pass=True)


def _with(
    connection: Connection, vault: Vault, me: Me, event: _Event, row: GroupRow, now_ms: int
) -> Decrypted | Unreadable:
    """Reads it with one of the sessions of that name."""
    index = event.message.message_index()
    if index < row.first_index:
        code = withheld.code(connection, event.room_id, event.session_id, event.sender)
        detail = f"the session is known from message {row.first_index} on, this is {index}"
        reason: Reason = "withheld" if code else "no_key"
        return event.unreadable(reason, detail, code or "", may_pass=True)
    try:
        plaintext = pickles.open_inbound(vault, row.pickle).decrypt(event.message).plaintext
    except ValueError as error:
        return event.unreadable("bad_mac", str(error))
    trust = _trust(connection, me, event, row)
    if isinstance(trust, Unreadable):
        return trust
    payload = _payload(plaintext)
    if payload is None:
        return event.unreadable("malformed", "what it holds is no message")
    kind, content, room_id = payload
    if room_id != event.room_id:
        return event.unreadable("wrong_room", "it was written for another room")
    name = GroupName(row.room_id, row.session_id, row.sender_key)
    user = replays.used_by(connection, name, index, event.event_id, now_ms)
    if user != event.event_id:
        return event.unreadable("replay", f"it repeats {user or 'a message of long ago'}")
    if "m.relates_to" not in content and isinstance(event.relates_to, dict):
        content["m.relates_to"] = event.relates_to
    device = devices.by_key(connection, event.sender, row.sender_key)
    device_id = me.device_id if trust == "own" else "" if device is None else device.device_id
    return Decrypted(
        kind,
        content,
        event.sender,
        trust,
        device_id,
        row.session_id,
        row.sender_key,
        index,
        looked_up=trust in ("own", "cross-signed") or users.is_fresh(connection, event.sender),
    )


def _trust(connection: Connection, me: Me, event: _Event, row: GroupRow) -> Trust | Unreadable:
    """What is known of who wrote it, or that it was not its sender."""
    device = devices.by_key(connection, event.sender, row.sender_key)
    if row.source == "own" or row.sender_key == me.curve25519:
        if event.sender != me.user_id:
            return event.unreadable("wrong_sender", "its session is our own")
        return "own" if row.source == "own" else "backup"
    if row.source == "direct" and row.user_id != event.sender:
        return event.unreadable("wrong_sender", "its session belongs to somebody else")
    if device is None:
        if row.source != "direct" and devices.owners(connection, row.sender_key):
            return event.unreadable("wrong_sender", "its session is of another user's device")
    elif device.ed25519 != row.ed25519:
        return event.unreadable("wrong_sender", "its session names a false key of its device")
    if row.source != "direct":
        return "forwarded" if row.source == "forwarded" else "backup"
    if device is None:
        return "unknown-device"
    if device.cross_signed:
        return "cross-signed"
    user = users.of(connection, [event.sender]).get(event.sender)
    return "changed-identity" if user is not None and user.changed else "unsigned"


def _payload(plaintext: bytes) -> tuple[str, dict[str, Any], str] | None:
    try:
        payload = json_body.decode(plaintext)
    except json_body.NotJsonError:
        return None
    match payload:
        case {"type": str(kind), "content": dict(content), "room_id": str(room_id)}:
            return kind, content, room_id
    return None
