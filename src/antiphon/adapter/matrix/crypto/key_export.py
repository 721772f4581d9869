"""Sessions out to the key backup and in from it. Functions over a Connection; what is encrypted
into a backup, and how, is not decided here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles, room_keys
from antiphon.adapter.matrix.crypto.names import is_curve25519, is_name
from antiphon.adapter.matrix.crypto.room_key import RoomKey, room_key_of
from antiphon.adapter.matrix.crypto.store import devices, inbound_groups, key_requests
from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupName, GroupRow
from antiphon.adapter.matrix.crypto.values import NewKey
from antiphon.adapter.matrix.crypto.vault import Vault


class ForBackup(msgspec.Struct, frozen=True):
    """A session that the backup lacks. `verified`: we know who made it, ourselves or a device that
    its owner's identity signed."""

    key: RoomKey
    verified: bool


def owed(connection: Connection, vault: Vault, limit: int) -> list[ForBackup]:
    """At most `limit` sessions that the backup has not, from their first message on."""
    found = []
    for row in inbound_groups.owed(connection, limit):
        session = pickles.open_inbound(vault, row.pickle)
        claimed = {"ed25519": row.ed25519} if row.ed25519 else {}
        key = room_key_of(session, row.room_id, row.sender_key, claimed)
        found.append(ForBackup(key, _verified(connection, row)))
    return found


def paid(connection: Connection, keys: Sequence[RoomKey]) -> None:
    """The backup has these; one that has become better meanwhile stays owed."""
    inbound_groups.paid(
        connection,
        [(GroupName(key.room_id, key.session_id, key.sender_key), key.first_index) for key in keys],
    )


def take(
    connection: Connection, vault: Vault, keys: Sequence[RoomKey], now_ms: int, *, backed_up: bool
) -> list[NewKey]:
    """Takes sessions from a backup or a file; which of them are new or better. Nobody vouches for
    them. `backed_up`: they came from the backup that is kept up, and are not owed to it."""
    new = []
    for key in keys:
        session = room_keys.imported(key.session_key, key.session_id)
        if session is None or not is_name(key.room_id) or not is_curve25519(key.sender_key):
            continue
        claimed = key.claimed.get("ed25519", "")
        row = GroupRow(
            room_id=key.room_id,
            session_id=key.session_id,
            sender_key=key.sender_key,
            user_id=None,
            ed25519=claimed if is_name(claimed) else "",
            source="backup",
            first_index=session.first_known_index,
            pickle=session.pickle(vault.pickle_key),
            made_ms=now_ms,
        )
        if room_keys.keep(connection, vault, row, session, backed_up=backed_up):
            key_requests.end(connection, key.room_id, key.session_id)
            new.append(NewKey(key.room_id, key.session_id))
    return new


def _verified(connection: Connection, row: GroupRow) -> bool:
    if row.source == "own":
        return True
    if row.source != "direct" or row.user_id is None:
        return False
    device = devices.by_key(connection, row.user_id, row.sender_key)
    return device is not None and device.cross_signed and device.ed25519 == row.ed25519
