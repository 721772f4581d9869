"""What seals the key store: one key of 32 bytes, from which those of pickles and secrets come."""

from __future__ import annotations

import base64
import binascii
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from antiphon.errors import DatabaseError

KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """Seals and opens. `pickle_key` is for vodozemac's pickles, which carry a MAC of their own."""

    __slots__ = ("_aead", "check", "pickle_key")

    def __init__(self, key: bytes):
        """`key`: KEY_BYTES random ones. `check` tells it from others and does not give it away."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of a key store has {KEY_BYTES} bytes, not {len(key)}")
        self.pickle_key = _derived(key, b"antiphon pickles")
        self.check = base64.b64encode(_derived(key, b"antiphon check")).decode()
        self._aead = AESGCM(_derived(key, b"antiphon secrets"))

    def fits(self, check: str) -> bool:
        """Whether `check` was written under the same key."""
        return hmac.compare_digest(self.check.encode(), check.encode())

    def seal(self, name: str, secret: bytes) -> str:
        """The secret as text that only `unseal` with the same name reads."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + self._aead.encrypt(nonce, secret, name.encode())).decode()

    def unseal(self, name: str, sealed: str) -> bytes:
        """Raises DatabaseError where it was not sealed so."""
        try:
            body = base64.b64decode(sealed, validate=True)
            return self._aead.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], name.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise damaged(name) from error

    def __repr__(self) -> str:
        return "Vault(***)"


def damaged(what: str) -> DatabaseError:
    """The error for something in the key store that its own key does not open."""
    return DatabaseError(
        f"The key store is damaged: {what} can't be opened with its key. Move the key store away "
        "and start again: the bot then becomes a new device, and its key backup gives back what "
        "it has."
    )


def _derived(key: bytes, what: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=what).derive(key)
