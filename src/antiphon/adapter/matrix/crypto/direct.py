"""Messages to single devices by Olm, outside of rooms. Functions over a Connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import olm_out
from antiphon.adapter.matrix.crypto.store import devices, olm_sessions
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.values import Batch, Me
from antiphon.adapter.matrix.crypto.vault import Vault


def named(connection: Connection, names: Mapping[str, Collection[str]]) -> list[Device]:
    """Those of these devices (ids by user) that live."""
    return [
        device
        for device in devices.of(connection, names)
        if device.device_id in names[device.user_id]
    ]


def without_session(
    connection: Connection, names: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """Those of them with which there is no Olm session."""
    living = named(connection, names)
    known = olm_sessions.known(connection, (device.curve25519 for device in living))
    found: dict[str, list[str]] = {}
    for device in living:
        if device.curve25519 not in known:
            found.setdefault(device.user_id, []).append(device.device_id)
    return found


def batch(
    connection: Connection,
    vault: Vault,
    me: Me,
    kind: str,
    messages: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Batch | None:
    """The messages of type `kind` (user → device → content), each encrypted for its device; None
    where there is no session with any of them."""
    wanted = [
        (device, kind, messages[device.user_id][device.device_id])
        for device in named(connection, messages)
    ]
    made = olm_out.encrypt(connection, vault, me, wanted)
    if not made:
        return None
    sealed: dict[str, dict[str, dict[str, Any]]] = {}
    for device, content in made:
        sealed.setdefault(device.user_id, {})[device.device_id] = content
    who = tuple((d.user_id, d.device_id, d.curve25519) for d, _ in made)
    return Batch("m.room.encrypted", sealed, "", "", 0, who)
