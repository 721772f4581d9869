"""The recovery key as people read and type it, and keys from a passphrase. No I/O.

A source of random bytes is passed in; the keys themselves never appear in an error's text.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import msgspec

from antiphon.errors import RecoveryKeyError

RandomBytes = Callable[[int], bytes]
"""Gives so many unguessable bytes; `secrets.token_bytes` outside of tests."""

KEY_BYTES = 32
_PREFIX = b"\x8b\x01"
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_GROUP = 4
_MOST_LETTERS = 64
"""A key has 48; what is far longer is not even worked through."""

DEFAULT_ITERATIONS = 500_000
MOST_ITERATIONS = 10_000_000
"""The description comes from the homeserver: a larger number would only stop us for minutes."""
MOST_SALT = 1024


class Passphrase(msgspec.Struct, frozen=True):
    """How a key is made from a passphrase (specification, "Deriving keys from passphrases")."""

    salt: str
    iterations: int = DEFAULT_ITERATIONS
    bits: int = KEY_BYTES * 8

    def content(self) -> dict[str, Any]:
        """The `passphrase` property of a key's description."""
        content: dict[str, Any] = {"algorithm": "m.pbkdf2"}
        return content | {"salt": self.salt, "iterations": self.iterations, "bits": self.bits}


def new_key(random: RandomBytes = secrets.token_bytes) -> bytes:
    """A new 32-byte key at random."""
    return random(KEY_BYTES)


def new_passphrase(salt: str, iterations: int = DEFAULT_ITERATIONS) -> Passphrase:
    """The parameters for a new passphrase; `salt` is random text (`Chance.token`)."""
    return Passphrase(salt=salt, iterations=iterations)


def parse_passphrase(raw: object) -> Passphrase:
    """The parameters in `raw`, the `passphrase` property of a key's description.

    Raises:
        RecoveryKeyError: it is no such property, or asks for what we don't do.
    """
    if not isinstance(raw, dict) or raw.get("algorithm") != "m.pbkdf2":
        raise RecoveryKeyError(
            "This storage can't be opened with a passphrase; use its recovery key."
        )
    salt, iterations, bits = raw.get("salt"), raw.get("iterations"), raw.get("bits", KEY_BYTES * 8)
    if not isinstance(salt, str) or len(salt) > MOST_SALT:
        raise RecoveryKeyError(
            "The passphrase's salt on the homeserver is malformed; use the recovery key."
        )
    if type(iterations) is not int or not 1 <= iterations <= MOST_ITERATIONS:
        raise RecoveryKeyError(
            "The passphrase's iterations on the homeserver are no number from 1 to"
            f" {MOST_ITERATIONS}; use the recovery key."
        )
    if bits != KEY_BYTES * 8 or type(bits) is not int:
        raise RecoveryKeyError("The passphrase makes a key of another size; use the recovery key.")
    return Passphrase(salt=salt, iterations=iterations, bits=bits)


def key_from_passphrase(phrase: str, parameters: Passphrase) -> bytes:
    """The key of `phrase`: PBKDF2 with SHA-512. Works for a good part of a second."""
    return hashlib.pbkdf2_hmac(
        "sha512",
        phrase.encode(),
        parameters.salt.encode(),
        parameters.iterations,
        parameters.bits // 8,
    )


def encode_recovery_key(key: bytes) -> str:
    """`key` as people read it: base58 in groups of four (specification, appendices,
    "Cryptographic key representation")."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a recovery key has {KEY_BYTES} bytes")
    data = _PREFIX + key
    text = _encode_base58(data + bytes([_parity(data)]))
    return " ".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def decode_recovery_key(text: str) -> bytes:
    """The key in `text`, whatever white space is in it.

    A typing mistake passes once in 256 times; the check value in the storage finds those.

    Raises:
        RecoveryKeyError: says what is wrong, without quoting the key.
    """
    letters = "".join(text.split())
    for place, letter in enumerate(letters[:_MOST_LETTERS], start=1):
        if letter not in _VALUES:
            raise RecoveryKeyError(
                f"Character {place} of the recovery key can't be in one: it has letters and digits"
                " only, and never 0 (zero), O, I or l. Type it again."
            )
    data = _decode_base58(letters) if len(letters) <= _MOST_LETTERS else b""
    size = len(_PREFIX) + KEY_BYTES + 1
    if len(data) != size:
        raise RecoveryKeyError(
            f"This is no recovery key: it has {len(letters)} characters where 48 are expected."
            " Is a part of it missing?"
        )
    if not data.startswith(_PREFIX):
        raise RecoveryKeyError('This is no recovery key: those begin with "Es".')
    if _parity(data) != 0:
        raise RecoveryKeyError("There is a typing mistake in the recovery key. Type it again.")
    return data[len(_PREFIX) : -1]


def _parity(data: bytes) -> int:
    parity = 0
    for byte in data:
        parity ^= byte
    return parity


def _encode_base58(data: bytes) -> str:
    number, letters = int.from_bytes(data), ""
    while number:
        number, rest = divmod(number, 58)
        letters = _ALPHABET[rest] + letters
    return _ALPHABET[0] * (len(data) - len(data.lstrip(b"\0"))) + letters


def _decode_base58(letters: str) -> bytes:
    number = 0
    for letter in letters:
        number = number * 58 + _VALUES[letter]
    zeros = len(letters) - len(letters.lstrip(_ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)
