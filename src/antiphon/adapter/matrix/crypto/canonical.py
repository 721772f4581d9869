"""Canonical JSON and signatures over it (spec: appendices, "Canonical JSON" and "Signing JSON").
Pure; what was made by somebody else is checked here before a signature over it means anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import vodozemac

LARGEST = (1 << 53) - 1
DEEPEST = 64


class NotCanonicalError(ValueError):
    """A value has no canonical form: a float, an integer beyond 53 bits, half a surrogate pair,
    nested too deep, or no JSON at all."""


def canonical(value: Any) -> bytes:
    """The one encoding of a JSON value. Raises NotCanonicalError."""
    _check(value, DEEPEST)
    text = json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False
    )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError("text with half a surrogate pair") from error


def signable(value: Mapping[str, Any]) -> bytes:
    """What a signature of `value` signs: all of it but its signatures and `unsigned`.

    Raises NotCanonicalError."""
    return canonical({k: v for k, v in value.items() if k not in ("signatures", "unsigned")})


def signed(
    value: Mapping[str, Any], user_id: str, key_id: str, sign: Callable[[bytes], str]
) -> dict[str, Any]:
    """A copy of `value` with one more signature, by `key_id` (`ed25519:DEVICE`) of `user_id`.

    `sign` gives the unpadded base64 of the signature of bytes. Raises NotCanonicalError."""
    signatures = {user: dict(keys) for user, keys in value.get("signatures", {}).items()}
    signatures.setdefault(user_id, {})[key_id] = sign(signable(value))
    return {**value, "signatures": signatures}


def is_signed(value: Mapping[str, Any], user_id: str, key_id: str, public_key: str) -> bool:
    """Whether `value` carries a valid signature of `key_id` of `user_id` by the Ed25519 key
    `public_key` (base64). Of anything malformed it is not."""
    signature: Any = value.get("signatures")
    for name in (user_id, key_id):
        signature = signature.get(name) if isinstance(signature, dict) else None
    if not isinstance(signature, str):
        return False
    try:
        vodozemac.Ed25519PublicKey.from_base64(public_key).verify_signature(
            signable(value), vodozemac.Ed25519Signature.from_base64(signature)
        )
    except ValueError:  # no key, no signature, a wrong one, or nothing that can be signed
        return False
    return True


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise NotCanonicalError(f"nested more than {DEEPEST} deep")
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -LARGEST <= value <= LARGEST:
            raise NotCanonicalError("an integer beyond 53 bits")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotCanonicalError("a key that is no text")
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise NotCanonicalError(f"a value of type {type(value).__name__}")
