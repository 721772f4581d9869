"""The key backup on the homeserver (specification, "Server-side key backups",
m.megolm_backup.v1.curve25519-aes-sha2). No I/O: request bodies and answers in and out.

Its encryption proves nothing about who wrote a key (a known flaw of the algorithm): what is
restored can open messages, and says nothing about who sent them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
import vodozemac

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.canonical import is_signed, signed
from antiphon.adapter.matrix.crypto.cross_signing import Sign, SigningKey
from antiphon.adapter.matrix.crypto.identity import key_id
from antiphon.adapter.matrix.crypto.recovery_key import KEY_BYTES, RandomBytes
from antiphon.adapter.matrix.crypto.room_key import RoomKey, parse_room_key
from antiphon.errors import EncryptionError

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
MOST_CIPHERTEXT = 64 * 1024


class BackupKey(msgspec.Struct, frozen=True):
    """A backup's key pair (Curve25519) from its 32 private bytes."""

    private: bytes
    public: str

    def __repr__(self) -> str:
        return f"BackupKey(public={self.public!r})"


class Trust(StrEnum):
    """Why a backup is trusted with our keys, or that it is not."""

    OWN_KEY = "own_key"  # we hold the private part
    MASTER = "master"  # signed by our master key
    DEVICE = "device"  # signed by a device of ours that is trusted
    NONE = "none"  # nothing is put there
    UNKNOWN_ALGORITHM = "unknown_algorithm"
    MALFORMED = "malformed"

    @property
    def trusted(self) -> bool:
        """Whether keys may be put there."""
        return self in (Trust.OWN_KEY, Trust.MASTER, Trust.DEVICE)


def backup_key(private: bytes) -> BackupKey:
    """The key pair of `private`.

    Raises:
        EncryptionError: it has not 32 bytes.
    """
    if len(private) != KEY_BYTES:
        raise EncryptionError(f"A backup's key has {KEY_BYTES} bytes.")
    public = vodozemac.Curve25519SecretKey.from_bytes(private).public_key().to_base64()
    return BackupKey(private, public)


def new_backup_key(random: RandomBytes = secrets.token_bytes) -> BackupKey:
    """A new key at random."""
    return backup_key(random(KEY_BYTES))


def version_body(
    key: BackupKey, user_id: str, device_id: str, sign: Sign, master: SigningKey | None
) -> dict[str, Any]:
    """Body of POST /room_keys/version: a new backup, signed by this device and, where its private
    part is here, by the master key, which is what our other devices look for."""
    auth_data: dict[str, Any] = {"public_key": key.public}
    auth_data = signed(auth_data, user_id, key_id(device_id), sign)
    if master is not None:
        auth_data = signed(auth_data, user_id, master.id, master.sign)
    return {"algorithm": ALGORITHM, "auth_data": auth_data}


def public_key_of(version: object) -> str | None:
    """The public key of an answer of GET /room_keys/version; None where it has none that we can
    use."""
    auth_data = version.get("auth_data") if isinstance(version, dict) else None
    public = auth_data.get("public_key") if isinstance(auth_data, dict) else None
    data = unpadded.decode(public, KEY_BYTES)
    return None if data is None else unpadded.encode(data)


def judge_version(
    version: object,
    user_id: str,
    *,
    held: BackupKey | None = None,
    own_master: str | None = None,
    devices: Mapping[str, str] | None = None,
) -> Trust:
    """Whether the backup that GET /room_keys/version names may have our keys.

    Args:
        version: the answer as it is.
        held: a backup key from our store, secret storage or a person.
        own_master: our public master key, as we know it (not as the homeserver says).
        devices: device id → Ed25519 key of our own devices that are trusted, this one included.
    """
    if not isinstance(version, dict):
        return Trust.MALFORMED
    if version.get("algorithm") != ALGORITHM:
        return Trust.UNKNOWN_ALGORITHM
    auth_data, public = version.get("auth_data"), public_key_of(version)
    if not isinstance(auth_data, dict) or public is None:
        return Trust.MALFORMED
    if held is not None and held.public == public:
        return Trust.OWN_KEY
    if own_master is not None and is_signed(auth_data, user_id, key_id(own_master), own_master):
        return Trust.MASTER
    for device_id, device_key in (devices or {}).items():
        if device_id != own_master and is_signed(auth_data, user_id, key_id(device_id), device_key):
            return Trust.DEVICE
    return Trust.NONE


def encrypt_room_key(public: str, key: RoomKey, *, is_verified: bool = False) -> dict[str, Any]:
    """What goes into the backup for a session (`KeyBackupData`), under the backup's `public` key.

    `is_verified`: whether the device that the session came from is trusted.

    Raises:
        EncryptionError: `public` is no key.
    """
    try:
        encryption = vodozemac.PkEncryption.from_key(
            vodozemac.Curve25519PublicKey.from_base64(public)
        )
    except vodozemac.KeyException as error:
        raise EncryptionError(f"The backup's public key is malformed: {error}.") from error
    message = encryption.encrypt(msgspec.json.encode(key.backup_content()))
    return {
        "first_message_index": key.first_index,
        "forwarded_count": len(key.forwarding_chain),
        "is_verified": is_verified,
        # By name: the order of `to_base64()` is not that of `from_base64()` (vodozemac 0.10).
        "session_data": {
            "ciphertext": unpadded.encode(message.ciphertext),
            "mac": unpadded.encode(message.mac),
            "ephemeral": unpadded.encode(message.ephemeral_key),
        },
    }


def decrypt_room_key(backup: BackupKey, room_id: str, session_id: str, data: object) -> RoomKey:
    """The session in a `KeyBackupData` that the homeserver keeps under `room_id` and `session_id`.

    Raises:
        EncryptionError: malformed, for another backup's key, or another session than it is
            said to be.
    """
    raw = data.get("session_data") if isinstance(data, dict) else None
    parts = (
        [raw.get(name) for name in ("ciphertext", "mac", "ephemeral")]
        if isinstance(raw, dict)
        else []
    )
    if len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise EncryptionError("A session in the key backup is malformed.")
    ciphertext, mac, ephemeral = (str(part).rstrip("=") for part in parts)
    if len(ciphertext) > MOST_CIPHERTEXT:
        raise EncryptionError("A session in the key backup is too large.")
    secret = vodozemac.Curve25519SecretKey.from_bytes(backup.private)
    try:
        message = vodozemac.Message.from_base64(ciphertext, mac, ephemeral)
        plaintext = vodozemac.PkDecryption.from_key(secret).decrypt(message)
    except ValueError as error:  # every one of vodozemac's exceptions is one
        raise EncryptionError(f"A session in the key backup can't be opened: {error}.") from error
    try:
        content = msgspec.json.decode(plaintext)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EncryptionError("A session in the key backup holds no JSON.") from error
    return parse_room_key(content, room_id=room_id, session_id=session_id)
