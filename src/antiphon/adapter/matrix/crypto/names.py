"""Which texts of strangers may be names and keys: such as every database keeps, and of which each
key has one spelling only. Pure."""

from __future__ import annotations

from typing import TypeGuard

import vodozemac

LONGEST = 1024


def is_name(value: object) -> TypeGuard[str]:
    """Whether it can be the id of a user, device, room, event or session."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_ed25519(key: object) -> TypeGuard[str]:
    """Whether it is an Ed25519 public key as unpadded base64 in its one right spelling."""
    try:
        return isinstance(key, str) and (
            vodozemac.Ed25519PublicKey.from_base64(key).to_base64() == key
        )
    except ValueError:
        return False


def is_curve25519(key: object) -> TypeGuard[str]:
    """Whether it is a Curve25519 public key as unpadded base64 in its one right spelling."""
    try:
        return isinstance(key, str) and (
            vodozemac.Curve25519PublicKey.from_base64(key).to_base64() == key
        )
    except ValueError:
        return False
