"""Devices whose Olm session with us has broken get a new one, with an `m.dummy` so that they use it
(spec: "Recovering from undecryptable messages"). Functions over a Connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import direct
from antiphon.adapter.matrix.crypto.store import devices, olm_sessions, shares, users


def owed(connection: Connection, now_ms: int) -> dict[str, list[str]]:
    """The devices that are to get one, by user. One that is in no list of its user's devices is
    given up."""
    found: dict[str, list[str]] = {}
    peers = olm_sessions.wedged(connection)
    known = users.of(connection, [peer.user_id for peer in peers])
    for peer in peers:
        device = devices.by_key(connection, peer.user_id, peer.curve25519)
        if device is not None and not device.deleted:
            found.setdefault(peer.user_id, []).append(device.device_id)
        elif peer.user_id not in known or not known[peer.user_id].outdated:
            olm_sessions.set_wedged(connection, peer, False, now_ms)
    return found


def done(connection: Connection, names: Mapping[str, Sequence[str]], now_ms: int) -> None:
    """They have it; and the keys of rooms that they were sent before go out once more."""
    for device in direct.named(connection, names):
        peer = olm_sessions.Peer(device.user_id, device.curve25519)
        olm_sessions.set_wedged(connection, peer, False, now_ms)
        shares.again(connection, device.user_id, device.device_id)
