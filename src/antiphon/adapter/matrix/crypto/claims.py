"""One-time keys of other devices, claimed to make Olm sessions with them: which are genuine, and
what is noted where none came. Functions over a Connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import olm_out
from antiphon.adapter.matrix.crypto.canonical import is_signed
from antiphon.adapter.matrix.crypto.group_out import HELD
from antiphon.adapter.matrix.crypto.names import is_curve25519
from antiphon.adapter.matrix.crypto.own_keys import CURVE
from antiphon.adapter.matrix.crypto.store import devices, outbound_groups, shares
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.outbound_groups import OutboundRow
from antiphon.adapter.matrix.crypto.store.shares import ShareRow
from antiphon.adapter.matrix.crypto.values import Problem
from antiphon.adapter.matrix.crypto.vault import Vault

NO_OLM = "no_olm"
"""State of a share whose device has no Olm session with us, and gave no key for one."""


def one_time_keys(
    connection: Connection, wanted: Mapping[str, Sequence[str]], answer: Mapping[str, Any]
) -> tuple[list[tuple[Device, str]], list[Device], list[Problem]]:
    """The claimed keys of these devices that are valid; the devices of which none came; and what
    was refused. `answer` is that of `/keys/claim`."""
    section = answer.get("one_time_keys")
    section = section if isinstance(section, dict) else {}
    found: list[tuple[Device, str]] = []
    none: list[Device] = []
    problems: list[Problem] = []
    for user_id, names in wanted.items():
        theirs = section.get(user_id)
        theirs = theirs if isinstance(theirs, dict) else {}
        living = {d.device_id: d for d in devices.of(connection, [user_id])}
        for device_id in names:
            device = living.get(device_id)
            if device is None:
                continue
            keys = theirs.get(device_id)
            key = _valid(device, keys)
            if key is not None:
                found.append((device, key))
                continue
            none.append(device)
            if keys:
                detail = "its one-time key is malformed or not signed by it"
                problems.append(Problem("bad_one_time_key", detail, user_id, device_id))
    return found, none, problems


def _valid(device: Device, keys: Any) -> str | None:
    for name, key in keys.items() if isinstance(keys, dict) else ():
        if not isinstance(name, str) or not name.startswith(f"{CURVE}:"):
            continue
        if not isinstance(key, dict) or not is_curve25519(key.get("key")):
            continue
        if is_signed(key, device.user_id, f"ed25519:{device.device_id}", device.ed25519):
            return str(key["key"])
    return None


def take(
    connection: Connection,
    vault: Vault,
    room_id: str,
    wanted: Mapping[str, Sequence[str]],
    answer: Mapping[str, Any],
    now_ms: int,
) -> tuple[Problem, ...]:
    """Makes Olm sessions of what `/keys/claim` gave, and notes for the room whom it gave none."""
    found, none, problems = one_time_keys(connection, wanted, answer)
    problems += olm_out.begin(connection, vault, found)
    row = outbound_groups.of(connection, room_id)
    if row is not None:
        mark_without_keys(connection, row, none, now_ms)
    return tuple(problems)


def mark_without_keys(
    connection: Connection, row: OutboundRow, none: Sequence[Device], now_ms: int
) -> None:
    """No one-time key of these came: they are asked again later, and told once."""
    given = shares.of(connection, row.room_id, row.session_id)
    rows = []
    for device in none:
        old = given.get((device.user_id, device.device_id))
        if old is not None and old.state in HELD:
            continue  # it may have the session all the same
        told = old is not None and old.told and stands(old, device, NO_OLM)
        rows.append(share_of(row, device, NO_OLM, 0, now_ms, told=told))
    shares.save(connection, rows)


def stands(share: ShareRow | None, device: Device, state: str) -> bool:
    """Whether the share is in this state, and of the device as it is now."""
    return share is not None and share.state == state and share.curve25519 == device.curve25519


def share_of(
    row: OutboundRow, device: Device, state: str, index: int, now_ms: int, *, told: bool = False
) -> ShareRow:
    """A share of the room's session in this state."""
    return ShareRow(
        room_id=row.room_id,
        session_id=row.session_id,
        user_id=device.user_id,
        device_id=device.device_id,
        curve25519=device.curve25519,
        state=state,
        told=told,
        message_index=index,
        at_ms=now_ms,
    )
