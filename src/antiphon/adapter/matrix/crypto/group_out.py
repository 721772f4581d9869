"""Writing into rooms: Megolm out. Which session a room has, when it is replaced, and the encryption
itself. Functions over a Connection; a ratchet that moved is in the running transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.store import inbound_groups, outbound_groups, shares
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupRow
from antiphon.adapter.matrix.crypto.store.outbound_groups import OutboundRow
from antiphon.adapter.matrix.crypto.store.shares import ShareRow
from antiphon.adapter.matrix.crypto.values import MEGOLM, Me, RoomSettings
from antiphon.adapter.matrix.crypto.vault import Vault

HELD = ("sent", "sending")
"""States of a share whose device has the session, or may have it."""

LEAST_PERIOD_MS = 3_600_000
MOST_MESSAGES = 10_000
"""Bounds on what a room's state may ask for: a key for every message costs everybody dearly, and
one key for ever gives all away at once."""


def why_rotate(
    row: OutboundRow | None,
    given: Iterable[ShareRow],
    eligible: Mapping[tuple[str, str], Device],
    settings: RoomSettings,
    now_ms: int,
) -> str:
    """Why the room needs a new session; empty where it does not. `eligible` are the devices that
    may have it now: whoever else has it, has left or was deleted. Nobody's joining is a reason."""
    if row is None:
        return "first"
    if not row.made_ms <= now_ms < ends_ms(row, settings):
        return "age"
    if row.messages >= min(max(settings.rotation_period_msgs, 1), MOST_MESSAGES):
        return "messages"
    for share in given:
        device = eligible.get((share.user_id, share.device_id))
        if share.state in HELD and (device is None or device.curve25519 != share.curve25519):
            return "left"
    return ""


def ends_ms(row: OutboundRow, settings: RoomSettings) -> int:
    """When a session is to be replaced for its age."""
    return row.made_ms + max(settings.rotation_period_ms, LEAST_PERIOD_MS)


def rotate(connection: Connection, vault: Vault, me: Me, room_id: str, now_ms: int) -> OutboundRow:
    """Gives the room a new session, that nobody has yet but ourselves (so that our own messages
    can be read as they come back)."""
    session = vodozemac.GroupSession()
    row = OutboundRow(
        room_id=room_id,
        session_id=session.session_id,
        pickle=session.pickle(vault.pickle_key),
        made_ms=now_ms,
        messages=0,
        ready=False,
    )
    outbound_groups.save(connection, row)
    shares.forget_others(connection, room_id, row.session_id)
    mine = vodozemac.InboundGroupSession(session.session_key)
    inbound_groups.save(
        connection,
        GroupRow(
            room_id=room_id,
            session_id=row.session_id,
            sender_key=me.curve25519,
            user_id=me.user_id,
            ed25519=me.ed25519,
            source="own",
            first_index=0,
            pickle=mine.pickle(vault.pickle_key),
            made_ms=now_ms,
        ),
    )
    return row


def encrypt(
    connection: Connection,
    vault: Vault,
    me: Me,
    row: OutboundRow,
    kind: str,
    content: Mapping[str, Any],
) -> tuple[dict[str, Any], OutboundRow]:
    """The content of an `m.room.encrypted` event in the session `row`, which is the room's in the
    running transaction, and the session as it is after that. `m.relates_to` stands in the clear
    too: the homeserver needs it."""
    session = pickles.open_outbound(vault, row.pickle)
    payload = {"type": kind, "content": content, "room_id": row.room_id}
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    message = session.encrypt(text.encode())
    row = msgspec.structs.replace(
        row, pickle=session.pickle(vault.pickle_key), messages=row.messages + 1
    )
    outbound_groups.save(connection, row)
    encrypted = {
        "algorithm": MEGOLM,
        "ciphertext": message.to_base64(),
        "sender_key": me.curve25519,
        "device_id": me.device_id,
        "session_id": row.session_id,
    }
    if "m.relates_to" in content:
        encrypted["m.relates_to"] = content["m.relates_to"]
    return encrypted, row


def eligible(
    me: Me, devices: Iterable[Device], members: Collection[str], settings: RoomSettings
) -> tuple[dict[tuple[str, str], Device], dict[tuple[str, str], Device]]:
    """The devices of the members (and our own others) that may have the room's session, and those
    that are refused because their owner's identity did not sign them."""
    may: dict[tuple[str, str], Device] = {}
    refused: dict[tuple[str, str], Device] = {}
    for device in devices:
        name = (device.user_id, device.device_id)
        if name == (me.user_id, me.device_id) or not device.megolm or device.deleted:
            continue
        if device.user_id not in members and device.user_id != me.user_id:
            continue
        if settings.only_cross_signed and not device.cross_signed:
            refused[name] = device
        else:
            may[name] = device
    return may, refused
