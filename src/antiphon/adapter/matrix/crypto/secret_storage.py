"""Secrets on the homeserver, encrypted under the recovery key (specification, "Secrets", storage
with m.secret_storage.v1.aes-hmac-sha2). No I/O: account data contents in and out.

The homeserver can put back older contents or another key's description: so a key that no check
value has proved (`checked` false) may read, and must not encrypt anything new.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.recovery_key import (
    KEY_BYTES,
    Passphrase,
    RandomBytes,
    decode_recovery_key,
    key_from_passphrase,
    parse_passphrase,
)
from antiphon.errors import EncryptionError, RecoveryKeyError

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
DEFAULT_KEY_TYPE = "m.secret_storage.default_key"

MASTER = "m.cross_signing.master"
SELF_SIGNING = "m.cross_signing.self_signing"
USER_SIGNING = "m.cross_signing.user_signing"
BACKUP = "m.megolm_backup.v1"
CROSS_SIGNING = (MASTER, SELF_SIGNING, USER_SIGNING)

_IV_BYTES = 16
_MAC_BYTES = 32
MOST_SECRET = 64 * 1024


class StorageKey(msgspec.Struct, frozen=True):
    """A storage's key under its `key_id`. `checked`: the description's check value proved it."""

    key_id: str
    key: bytes
    checked: bool

    def __repr__(self) -> str:
        return f"StorageKey(key_id={self.key_id!r}, checked={self.checked})"


def key_type(key_id: str) -> str:
    """The account data type of a key's description."""
    return f"m.secret_storage.key.{key_id}"


def default_key_content(key_id: str) -> dict[str, Any]:
    """Content of `m.secret_storage.default_key` that makes `key_id` the default."""
    return {"key": key_id}


def default_key_id(content: object) -> str | None:
    """The id in the content of `m.secret_storage.default_key`; None where none is set."""
    key_id = content.get("key") if isinstance(content, dict) else None
    return key_id if isinstance(key_id, str) and key_id else None


def new_storage_key(key_id: str, key: bytes) -> StorageKey:
    """A key that we made ourselves; `key_id` is random text (`Chance.token`)."""
    return StorageKey(key_id, _of_32(key), checked=True)


def describe(
    storage: StorageKey,
    passphrase: Passphrase | None = None,
    name: str | None = None,
    random: RandomBytes = secrets.token_bytes,
) -> dict[str, Any]:
    """Content of the key's description (`key_type`), with the check value that proves it later."""
    iv = _new_iv(random)
    content: dict[str, Any] = {
        "algorithm": ALGORITHM,
        "iv": unpadded.encode(iv),
        "mac": unpadded.encode(_check_value(storage.key, iv)),
    }
    if name is not None:
        content["name"] = name
    if passphrase is not None:
        content["passphrase"] = passphrase.content()
    return content


def open_storage(key_id: str, description: object, key: bytes) -> StorageKey:
    """`key` as the key of the storage that `description` describes.

    Raises:
        RecoveryKeyError: it is another storage's key (by the check value).
        EncryptionError: the description is malformed, or asks for what we don't do.
    """
    if not isinstance(description, dict) or description.get("algorithm") != ALGORITHM:
        raise EncryptionError(
            f"The secret storage on the homeserver is not of the kind {ALGORITHM};"
            " make a new one in another client."
        )
    iv_text, mac_text = description.get("iv"), description.get("mac")
    if iv_text is None and mac_text is None:
        return StorageKey(key_id, _of_32(key), checked=False)
    iv, mac = unpadded.decode(iv_text), unpadded.decode(mac_text, _MAC_BYTES)
    if iv is None or len(iv) < _IV_BYTES or mac is None:
        raise EncryptionError(
            "The check value of the secret storage on the homeserver is malformed."
        )
    # Some clients wrote longer ones and used their beginning.
    if not hmac.compare_digest(_check_value(_of_32(key), iv[:_IV_BYTES]), mac):
        raise RecoveryKeyError(
            "This is not the recovery key of this account's secret storage."
            " Look for the newest one, or reset the storage in another client."
        )
    return StorageKey(key_id, key, checked=True)


def open_with_recovery_key(key_id: str, description: object, text: str) -> StorageKey:
    """As `open_storage`, from the recovery key as it was typed.

    Raises:
        RecoveryKeyError: mistyped, or another storage's.
        EncryptionError: as `open_storage`.
    """
    return open_storage(key_id, description, decode_recovery_key(text))


def open_with_passphrase(key_id: str, description: object, phrase: str) -> StorageKey:
    """As `open_storage`, from a passphrase. Works for a good part of a second.

    Raises:
        RecoveryKeyError: a wrong passphrase, or the storage has none.
        EncryptionError: as `open_storage`.
    """
    raw = description.get("passphrase") if isinstance(description, dict) else None
    return open_storage(key_id, description, key_from_passphrase(phrase, parse_passphrase(raw)))


def encrypt_secret(
    storage: StorageKey, name: str, secret: str, random: RandomBytes = secrets.token_bytes
) -> dict[str, Any]:
    """Content of the account data `name` that keeps `secret` under this key alone: what other keys
    may have kept under the name is older.

    Raises:
        EncryptionError: no check value proved this key.
    """
    if not storage.checked:
        raise EncryptionError(
            "The secret storage has no check value, so its key may be wrong: nothing is put there."
        )
    iv = _new_iv(random)
    aes_key, mac_key = _derive(storage.key, name)
    ciphertext = _apply(aes_key, iv, secret.encode())
    encrypted = {
        "iv": unpadded.encode(iv),
        "ciphertext": unpadded.encode(ciphertext),
        "mac": unpadded.encode(hmac.digest(mac_key, ciphertext, hashlib.sha256)),
    }
    return {"encrypted": {storage.key_id: encrypted}}


def decrypt_secret(storage: StorageKey, name: str, content: object) -> str | None:
    """The secret in the account data `name`; None where it holds none under this key.

    Raises:
        EncryptionError: malformed, changed, or encrypted for another name.
    """
    encrypted = content.get("encrypted") if isinstance(content, dict) else None
    raw = encrypted.get(storage.key_id) if isinstance(encrypted, dict) else None
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise EncryptionError(f"The secret {name} on the homeserver is malformed.")
    iv, mac = unpadded.decode(raw.get("iv"), _IV_BYTES), unpadded.decode(raw.get("mac"), _MAC_BYTES)
    ciphertext = unpadded.decode(raw.get("ciphertext"))
    if iv is None or mac is None or ciphertext is None or len(ciphertext) > MOST_SECRET:
        raise EncryptionError(f"The secret {name} on the homeserver is malformed.")
    aes_key, mac_key = _derive(storage.key, name)
    if not hmac.compare_digest(hmac.digest(mac_key, ciphertext, hashlib.sha256), mac):
        raise EncryptionError(f"The secret {name} on the homeserver was changed, or isn't ours.")
    try:
        return _apply(aes_key, iv, ciphertext).decode()
    except UnicodeDecodeError as error:
        raise EncryptionError(f"The secret {name} on the homeserver is no text.") from error


def decrypt_key(storage: StorageKey, name: str, content: object) -> bytes | None:
    """The 32-byte key in the account data `name` (cross-signing and backup keys are kept as
    base64); None where it holds none under this key.

    Raises:
        EncryptionError: as `decrypt_secret`, or it is no such key.
    """
    secret = decrypt_secret(storage, name, content)
    if secret is None:
        return None
    key = unpadded.decode(secret.strip(), KEY_BYTES)
    if key is None:
        raise EncryptionError(f"The secret {name} on the homeserver is no key.")
    return key


def encrypt_key(
    storage: StorageKey, name: str, key: bytes, random: RandomBytes = secrets.token_bytes
) -> dict[str, Any]:
    """As `encrypt_secret`, for a 32-byte key."""
    return encrypt_secret(storage, name, unpadded.encode(_of_32(key)), random)


def _of_32(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise EncryptionError(f"A key of {KEY_BYTES} bytes is needed.")
    return key


def _derive(key: bytes, name: str) -> tuple[bytes, bytes]:
    """AES and MAC key for what is called `name`."""
    both = HKDF(hashes.SHA256(), 64, salt=bytes(32), info=name.encode()).derive(key)
    return both[:32], both[32:]


def _check_value(key: bytes, iv: bytes) -> bytes:
    aes_key, mac_key = _derive(key, "")
    return hmac.digest(mac_key, _apply(aes_key, iv, bytes(32)), hashlib.sha256)


def _new_iv(random: RandomBytes) -> bytes:
    """Bit 63 is cleared, since implementations of AES-CTR differ in what they do with it."""
    iv = bytearray(random(_IV_BYTES))
    iv[8] &= 0x7F
    return bytes(iv)


def _apply(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-CTR: the same both ways."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
