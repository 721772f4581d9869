"""Megolm sessions as they travel: in the key backup and in files of exported keys
(specification, `BackedUpSessionData` and `ExportedSessionData`). No I/O.
"""

from __future__ import annotations

from typing import Any

import msgspec
import vodozemac

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.errors import EncryptionError

MEGOLM = "m.megolm.v1.aes-sha2"
MOST_CHAIN = 100


class RoomKey(msgspec.Struct, frozen=True):
    """An exported session of `room_id`: `session_key` (base64, session-export format) opens it from
    message `first_index` on.

    `sender_key` (Curve25519) and `claimed` (algorithm → key of the sending device) are as whoever
    exported it says: they prove nothing."""

    room_id: str
    session_id: str
    session_key: str
    first_index: int
    sender_key: str
    claimed: dict[str, str] = {}
    forwarding_chain: tuple[str, ...] = ()
    shared_history: bool = False

    def __repr__(self) -> str:
        return f"RoomKey(room_id={self.room_id!r}, session_id={self.session_id!r})"

    def backup_content(self) -> dict[str, Any]:
        """What is encrypted into the key backup."""
        return {
            "algorithm": MEGOLM,
            "forwarding_curve25519_key_chain": list(self.forwarding_chain),
            "sender_key": self.sender_key,
            "sender_claimed_keys": dict(self.claimed),
            "session_key": self.session_key,
            "shared_history": self.shared_history,
        }

    def export_content(self) -> dict[str, Any]:
        """One entry of a file of exported keys."""
        return self.backup_content() | {"room_id": self.room_id, "session_id": self.session_id}


def room_key_of(
    session: vodozemac.InboundGroupSession,
    room_id: str,
    sender_key: str,
    claimed: dict[str, str],
    forwarding_chain: tuple[str, ...] = (),
    *,
    shared_history: bool = False,
) -> RoomKey:
    """The session as it travels, from the first message on that it opens."""
    exported = session.export_at(session.first_known_index)
    assert exported is not None  # its own first index is always there
    return RoomKey(
        room_id=room_id,
        session_id=session.session_id,
        session_key=exported.to_base64(),
        first_index=session.first_known_index,
        sender_key=sender_key,
        claimed=claimed,
        forwarding_chain=forwarding_chain,
        shared_history=shared_history,
    )


def session_of(key: RoomKey) -> vodozemac.InboundGroupSession:
    """The session that `key` opens.

    Raises:
        EncryptionError: its session key is malformed, or another session's.
    """
    try:
        exported = vodozemac.ExportedSessionKey(key.session_key)
        session = vodozemac.InboundGroupSession.import_session(exported)
    except vodozemac.SessionKeyDecodeException as error:
        raise EncryptionError(f"An exported session key is malformed: {error}.") from error
    if session.session_id != key.session_id:
        raise EncryptionError("An exported session key is another session's than it says.")
    return session


def parse_room_key(raw: object, *, room_id: str, session_id: str) -> RoomKey:
    """The session in `raw`, the content of a backup's entry or of an exported one, which must be
    that of `room_id` and `session_id`.

    Raises:
        EncryptionError: malformed, of an unknown algorithm, or another session.
    """
    if not isinstance(raw, dict) or raw.get("algorithm") != MEGOLM:
        raise EncryptionError("An exported session is of an unknown algorithm.")
    if raw.get("room_id", room_id) != room_id or raw.get("session_id", session_id) != session_id:
        raise EncryptionError("An exported session is of another room or another session.")
    session_key, sender_key = raw.get("session_key"), raw.get("sender_key")
    if not isinstance(session_key, str) or unpadded.decode(sender_key, 32) is None:
        raise EncryptionError("An exported session has no session key or no sender key.")
    claimed, chain = raw.get("sender_claimed_keys"), raw.get("forwarding_curve25519_key_chain")
    claimed = claimed if isinstance(claimed, dict) else {}
    chain = chain[:MOST_CHAIN] if isinstance(chain, list) else []
    key = RoomKey(
        room_id=room_id,
        session_id=session_id,
        session_key=session_key.rstrip("="),
        first_index=0,
        sender_key=str(sender_key).rstrip("="),
        claimed={name: value for name, value in claimed.items() if isinstance(value, str)},
        forwarding_chain=tuple(item for item in chain if isinstance(item, str)),
        # The second name is older and still what matrix-js-sdk exports.
        shared_history=True in (raw.get("shared_history"), raw.get("m.shared_history")),
    )
    return msgspec.structs.replace(key, first_index=session_of(key).first_known_index)


def parse_exported_keys(raw: object) -> tuple[list[RoomKey], int]:
    """The sessions in a (decrypted) file of exported keys, and how many of it can't be used.

    Raises:
        EncryptionError: it is no list.
    """
    if not isinstance(raw, list):
        raise EncryptionError("A file of exported keys holds a list.")
    keys: list[RoomKey] = []
    for entry in raw:
        room_id, session_id = (
            (entry.get("room_id"), entry.get("session_id")) if isinstance(entry, dict) else (0, 0)
        )
        if isinstance(room_id, str) and isinstance(session_id, str):
            try:
                keys.append(parse_room_key(entry, room_id=room_id, session_id=session_id))
            except EncryptionError:
                continue  # counted below; the others are still good
    return keys, len(raw) - len(keys)
