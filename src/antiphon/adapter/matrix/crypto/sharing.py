"""Giving a room's session to everybody who may read on: who lacks it, whose one-time key is needed
for that, and the messages, in batches. Functions over a Connection.

A batch is committed, with whom it is for, before it is sent, and marked after that. Whatever
happens between makes the same devices get the session again, at the same message or a later one
(they keep the better one), and they count as having it, so that it is replaced when one leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import group_out, olm_out, pickles
from antiphon.adapter.matrix.crypto.claims import NO_OLM, share_of, stands
from antiphon.adapter.matrix.crypto.store import devices, olm_sessions, outbound_groups, shares
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.outbound_groups import OutboundRow
from antiphon.adapter.matrix.crypto.store.shares import ShareRow
from antiphon.adapter.matrix.crypto.values import (
    MEGOLM,
    Batch,
    GroupPlan,
    Me,
    Problem,
    RoomSettings,
)
from antiphon.adapter.matrix.crypto.vault import Vault

CLAIM_AGAIN_MS = 300_000
"""A device without one-time keys is asked for one again after this, milliseconds."""
_WITHHELD = {
    "m.unverified": "Its owner's identity has not signed this device.",
    "m.no_olm": "No one-time key of this device could be claimed.",
}


class Round(msgspec.Struct, frozen=True):
    """Where the sharing of a room's session stands: `ready` devices lack it and can be given it,
    `claim` need a one-time key first, `withhold` are to be told by code, `waiting` are to be
    claimed again later."""

    row: OutboundRow | None
    rotate: str
    share: list[Device]
    claim: list[Device]
    withhold: list[tuple[Device, str]]
    waiting: list[tuple[Device, str]]


def look(
    connection: Connection,
    me: Me,
    room_id: str,
    members: Sequence[str],
    settings: RoomSettings,
    now_ms: int,
) -> Round:
    """What is to be done for a room before the next message. Changes nothing."""
    users = {*members, me.user_id}
    may, refused = group_out.eligible(me, devices.of(connection, users), users, settings)
    row = outbound_groups.of(connection, room_id)
    given = {} if row is None else shares.of(connection, room_id, row.session_id)
    why = group_out.why_rotate(row, given.values(), may, settings, now_ms)
    if why:
        given = {}
    lacking = [
        device for name, device in may.items() if not stands(given.get(name), device, "sent")
    ]
    known = olm_sessions.known(connection, (device.curve25519 for device in lacking))
    share = [device for device in lacking if device.curve25519 in known]
    claim: list[Device] = []
    withhold: list[tuple[Device, str]] = []
    waiting: list[tuple[Device, str]] = []
    for device in lacking:
        if device.curve25519 in known:
            continue
        found = given.get((device.user_id, device.device_id))
        if not stands(found, device, NO_OLM) or abs(now_ms - _at(found)) >= CLAIM_AGAIN_MS:
            claim.append(device)
            continue
        waiting.append((device, "m.no_olm"))
        if found is not None and not found.told:
            withhold.append((device, "m.no_olm"))
    for name, device in refused.items():
        waiting.append((device, "m.unverified"))
        found = given.get(name)
        if not stands(found, device, "m.unverified") or (found is not None and not found.told):
            withhold.append((device, "m.unverified"))
    return Round(row, why, share, claim, withhold, waiting)


def _at(share: ShareRow | None) -> int:
    return 0 if share is None else share.at_ms


def plan_of(found: Round, settings: RoomSettings, rotated: str) -> GroupPlan:
    """The same for the caller; `rotated` says why the session is new, if it is."""
    claim: dict[str, list[str]] = {}
    for device in found.claim:
        claim.setdefault(device.user_id, []).append(device.device_id)
    assert found.row is not None
    return GroupPlan(
        found.row.session_id,
        found.row.ready,
        group_out.ends_ms(found.row, settings),
        rotated,
        claim,
        len(found.share),
        len(found.withhold),
        tuple(
            Problem(code, _WITHHELD[code], device.user_id, device.device_id)
            for device, code in found.waiting
        ),
    )


def batch(
    connection: Connection, vault: Vault, me: Me, found: Round, limit: int, now_ms: int
) -> Batch | None:
    """The next messages: keys to at most `limit` devices, else what tells at most as many why they
    get none; None where nothing is left. The caller commits before they leave."""
    row = found.row
    assert row is not None
    if found.share:
        session = pickles.open_outbound(vault, row.pickle)
        content = {
            "algorithm": MEGOLM,
            "room_id": row.room_id,
            "session_id": row.session_id,
            "session_key": session.session_key.to_base64(),
        }
        wanted = [(device, "m.room_key", content) for device in found.share[:limit]]
        made = olm_out.encrypt(connection, vault, me, wanted)
        index = session.message_index
        intent = [share_of(row, device, "sending", index, now_ms) for device, _ in made]
        shares.save(connection, intent)
        return _batch("m.room.encrypted", row, index, made, "")
    if not found.withhold:
        return None
    code = found.withhold[0][1]
    told = [device for device, why in found.withhold if why == code][:limit]
    content = {
        "algorithm": MEGOLM,
        "code": code,
        "reason": _WITHHELD[code],
        "sender_key": me.curve25519,
        "from_device": me.device_id,
    }
    if code != "m.no_olm":
        content |= {"room_id": row.room_id, "session_id": row.session_id}
    return _batch("m.room_key.withheld", row, 0, [(device, content) for device in told], code)


def _batch(
    kind: str,
    row: OutboundRow,
    index: int,
    made: Sequence[tuple[Device, dict[str, Any]]],
    code: str,
) -> Batch:
    messages: dict[str, dict[str, dict[str, Any]]] = {}
    for device, content in made:
        messages.setdefault(device.user_id, {})[device.device_id] = content
    names = tuple((d.user_id, d.device_id, d.curve25519) for d, _ in made)
    return Batch(kind, messages, row.room_id, row.session_id, index, names, code)


def mark(connection: Connection, sent: Batch, now_ms: int) -> None:
    """The homeserver took the batch."""
    row = outbound_groups.of(connection, sent.room_id)
    if row is None or row.session_id != sent.session_id:
        return
    given = shares.of(connection, sent.room_id, sent.session_id)
    rows = []
    for user_id, device_id, curve25519 in sent.names:
        old = given.get((user_id, device_id))
        if sent.code == "m.no_olm":
            if old is not None and old.state == NO_OLM:  # else it got a key meanwhile
                rows.append(msgspec.structs.replace(old, told=True))
            continue
        rows.append(
            ShareRow(
                room_id=sent.room_id,
                session_id=sent.session_id,
                user_id=user_id,
                device_id=device_id,
                curve25519=curve25519,
                state=sent.code or "sent",
                told=bool(sent.code),
                message_index=sent.index,
                at_ms=now_ms,
            )
        )
    shares.save(connection, rows)
