"""Encrypted attachments, version 2 (specification, "Sending encrypted attachments"). No I/O.

Whole files in memory: the surface bounds them before. The hash is checked before a byte is used.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.recovery_key import RandomBytes
from antiphon.errors import AttachmentError

VERSION = "v2"
ALGORITHM = "A256CTR"
MOST_BYTES = 100 * 1024 * 1024
"""Larger files are refused unless the caller allows them: they are held in memory twice."""
_KEY_BYTES = 32
_IV_BYTES = 16
_COUNTER_AT = 8
_BLOCK = 16


class FileKey(msgspec.Struct, frozen=True):
    """What opens one encrypted file: AES key (32 bytes), counter block (16), SHA-256 (32) of the
    ciphertext. Good for that file alone."""

    key: bytes
    iv: bytes
    sha256: bytes

    def __repr__(self) -> str:
        return "FileKey(…)"

    def content(self, url: str) -> dict[str, Any]:
        """The event's `file` (or `thumbnail_file`) property, for a ciphertext uploaded to `url`."""
        key: dict[str, Any] = {"kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": ALGORITHM}
        return {
            "v": VERSION,
            "url": url,
            "key": key | {"k": unpadded.encode_url(self.key), "ext": True},
            "iv": unpadded.encode(self.iv),
            "hashes": {"sha256": unpadded.encode(self.sha256)},
        }


class EncryptedFile(msgspec.Struct, frozen=True):
    """A `file` property that was read: where the ciphertext is, and what opens it."""

    url: str
    opens: FileKey


def encrypt_attachment(
    plaintext: bytes, random: RandomBytes = secrets.token_bytes
) -> tuple[bytes, FileKey]:
    """The ciphertext to upload, and the key that goes into the event, made for this file alone."""
    key = random(_KEY_BYTES)
    iv = random(_COUNTER_AT) + bytes(_IV_BYTES - _COUNTER_AT)
    ciphertext = _apply(key, iv, plaintext)
    return ciphertext, FileKey(key, iv, hashlib.sha256(ciphertext).digest())


def parse_encrypted_file(raw: object) -> EncryptedFile:
    """The `file` property in `raw` (any JSON value).

    `ext` and `key_ops` say what a browser may do with the key; they are not asked for.

    Raises:
        AttachmentError: says what is missing or unknown.
    """
    if not isinstance(raw, dict):
        raise AttachmentError("The encrypted file's description is no object.")
    if raw.get("v") != VERSION:
        raise AttachmentError(f"The file is encrypted by another scheme than {VERSION}.")
    url, key, hashes = raw.get("url"), raw.get("key"), raw.get("hashes")
    if not isinstance(url, str) or not url.startswith("mxc://"):
        raise AttachmentError("The encrypted file has no mxc address.")
    if not isinstance(key, dict) or key.get("kty") != "oct" or key.get("alg") != ALGORITHM:
        raise AttachmentError(f"The encrypted file's key is no {ALGORITHM} key.")
    secret = unpadded.decode_url(key.get("k"), _KEY_BYTES)
    if secret is None:
        raise AttachmentError("The encrypted file's key is malformed.")
    iv = unpadded.decode(raw.get("iv"), _IV_BYTES)
    if iv is None:
        raise AttachmentError("The encrypted file's counter block is malformed.")
    sha256 = unpadded.decode(hashes.get("sha256") if isinstance(hashes, dict) else None, 32)
    if sha256 is None:
        raise AttachmentError("The encrypted file has no SHA-256, or a malformed one.")
    return EncryptedFile(url, FileKey(secret, iv, sha256))


def decrypt_attachment(ciphertext: bytes, opens: FileKey, most_bytes: int = MOST_BYTES) -> bytes:
    """The file in `ciphertext`, which has at most `most_bytes`.

    Raises:
        AttachmentError: too large, or not what the sender encrypted (its hash differs).
    """
    if len(ciphertext) > most_bytes:
        raise AttachmentError(f"The encrypted file has more than {most_bytes} bytes.")
    if not hmac.compare_digest(hashlib.sha256(ciphertext).digest(), opens.sha256):
        raise AttachmentError("The encrypted file is not the one that was sent: its hash differs.")
    blocks = (len(ciphertext) + _BLOCK - 1) // _BLOCK
    if int.from_bytes(opens.iv[_COUNTER_AT:]) + blocks > 1 << 64:
        # The counter has 64 bits here and 128 in the library: past the end they would part.
        raise AttachmentError("The encrypted file's counter would run over.")
    return _apply(opens.key, opens.iv, ciphertext)


def _apply(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-CTR: the same both ways."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
