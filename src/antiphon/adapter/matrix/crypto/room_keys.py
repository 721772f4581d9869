"""Taking in the keys of rooms' sessions, from whoever gives them: a session is only ever replaced
by itself from an earlier message on, and one that nobody vouches for never stands in the way of one
that its owner gave. Functions over a Connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.names import is_curve25519, is_ed25519, is_name
from antiphon.adapter.matrix.crypto.olm import Opened
from antiphon.adapter.matrix.crypto.store import inbound_groups, key_requests
from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupName, GroupRow
from antiphon.adapter.matrix.crypto.values import MEGOLM, Me, NewKey, Problem
from antiphon.adapter.matrix.crypto.vault import Vault

VOUCHED = ("own", "direct")


def room_key(
    connection: Connection, vault: Vault, message: Opened, now_ms: int
) -> NewKey | Problem | None:
    """Takes an `m.room_key`; None where it brings nothing new."""
    content = message.content
    room_id, session_id = content.get("room_id"), content.get("session_id")
    if not (is_name(room_id) and is_name(session_id)):
        return _bad(message, "a room key names no room or no session")
    if content.get("algorithm") != MEGOLM:
        return _bad(message, "a room key of an unknown algorithm", "unknown_algorithm")
    try:
        session = vodozemac.InboundGroupSession(vodozemac.SessionKey(str(content["session_key"])))
    except (KeyError, ValueError):
        return _bad(message, "a room key is malformed or not signed by its session")
    if session.session_id != session_id:
        return _bad(message, "a room key is of another session than it says", "forged_room_key")
    row = GroupRow(
        room_id=room_id,
        session_id=session_id,
        sender_key=message.sender_key,
        user_id=message.sender,
        ed25519=message.sender_ed25519,
        source="direct",
        first_index=session.first_known_index,
        pickle=session.pickle(vault.pickle_key),
        made_ms=now_ms,
    )
    return _told(message, keep(connection, vault, row, session), row)


def forwarded_key(
    connection: Connection, vault: Vault, me: Me, message: Opened, now_ms: int
) -> NewKey | Problem | None:
    """Takes an `m.forwarded_room_key`: one that we asked for, from a device of ours that our
    identity signed, or from the session's own maker."""
    content = message.content
    room_id, session_id = content.get("room_id"), content.get("session_id")
    sender_key = content.get("sender_key")
    ed25519 = content.get("sender_claimed_ed25519_key")
    if not (is_name(room_id) and is_name(session_id)) or content.get("algorithm") != MEGOLM:
        return _bad(message, "a forwarded room key names no room, session or known algorithm")
    if not (is_curve25519(sender_key) and is_ed25519(ed25519)):
        return _bad(message, "a forwarded room key names no maker")
    if key_requests.asked(connection, room_id, session_id) is None:
        return _bad(message, "a room key was forwarded that nobody asked for", "unasked_room_key")
    device = message.device
    ours = device is not None and not device.deleted and device.cross_signed
    if not (ours and message.sender == me.user_id) and message.sender_key != sender_key:
        return _bad(message, "a room key was forwarded by a stranger", "untrusted_room_key")
    session = imported(content.get("session_key"), session_id)
    if session is None:
        return _bad(message, "a forwarded room key is malformed or of another session")
    row = GroupRow(
        room_id=room_id,
        session_id=session_id,
        sender_key=sender_key,
        user_id=None,
        ed25519=ed25519,
        source="forwarded",
        first_index=session.first_known_index,
        pickle=session.pickle(vault.pickle_key),
        made_ms=now_ms,
    )
    kept = keep(connection, vault, row, session)
    key_requests.end(connection, room_id, session_id)
    return _told(message, kept, row)


def imported(session_key: object, session_id: str) -> vodozemac.InboundGroupSession | None:
    """An exported session, if it is one and is this one."""
    if not isinstance(session_key, str):
        return None
    try:
        session = vodozemac.InboundGroupSession.import_session(
            vodozemac.ExportedSessionKey(session_key)
        )
    except ValueError:
        return None
    return session if session.session_id == session_id else None


def keep(
    connection: Connection,
    vault: Vault,
    row: GroupRow,
    session: vodozemac.InboundGroupSession,
    *,
    backed_up: bool = False,
) -> bool | None:
    """Keeps a session if it is better than what is there: readable from an earlier message on, or
    vouched for where the other was not. Whether it was; None: it is not the same ratchet."""
    name = GroupName(row.room_id, row.session_id, row.sender_key)
    old = inbound_groups.get(connection, name)
    if old is None:
        inbound_groups.save(connection, row, backed_up=backed_up)
        return True
    vouched, was_vouched = row.source in VOUCHED, old.source in VOUCHED
    if not _same(session, pickles.open_inbound(vault, old.pickle)):
        if vouched and not was_vouched:
            inbound_groups.save(connection, row)
            return True
        return None
    if row.first_index >= old.first_index and (was_vouched or not vouched):
        return False
    best = row if vouched or not was_vouched else old
    better = row if row.first_index < old.first_index else old
    best = msgspec.structs.replace(best, first_index=better.first_index, pickle=better.pickle)
    inbound_groups.save(connection, best, backed_up=backed_up)
    return True


def _same(one: vodozemac.InboundGroupSession, other: vodozemac.InboundGroupSession) -> bool:
    """Whether the two are one ratchet: equal from where both are known."""
    index = max(one.first_known_index, other.first_known_index)
    here, there = one.export_at(index), other.export_at(index)
    return here is not None and there is not None and here.to_base64() == there.to_base64()


def _told(message: Opened, kept: bool | None, row: GroupRow) -> NewKey | Problem | None:
    if kept is None:
        detail = "a room key does not fit the session that is known"
        return _bad(message, detail, "forged_room_key")
    return NewKey(row.room_id, row.session_id) if kept else None


def _bad(message: Opened, detail: str, code: str = "malformed") -> Problem:
    device = message.device.device_id if message.device else ""
    return Problem(code, detail, message.sender, device)


def withheld_of(content: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Room, session and code of an `m.room_key.withheld`; None where it is malformed. Room and
    session are empty where it is about the Olm session (code `m.no_olm`)."""
    code = content.get("code")
    if not is_name(code) or len(code) > 100:
        return None
    room_id, session_id = content.get("room_id"), content.get("session_id")
    if is_name(room_id) and is_name(session_id):
        return room_id, session_id, code
    return ("", "", code) if code == "m.no_olm" else None
