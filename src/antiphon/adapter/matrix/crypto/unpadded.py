"""Base64 as Matrix writes it (without padding) and reads it (with or without). No I/O.

Strict in what it takes: letters outside of the alphabet and lengths that no bytes have are refused,
where Python's own decoder would skip them.
"""

from __future__ import annotations

import base64
import binascii
import re

_TEXT = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL_TEXT = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def encode(data: bytes) -> str:
    """Unpadded base64 (specification, appendices)."""
    return base64.b64encode(data).decode().rstrip("=")


def encode_url(data: bytes) -> str:
    """Unpadded base64 with the alphabet that is safe in addresses (RFC 7515, in JSON web keys)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text: object, length: int | None = None) -> bytes | None:
    """The bytes in `text`, padded or not; None where it is no base64, or not of `length` bytes."""
    if not isinstance(text, str) or _TEXT.fullmatch(text) is None:
        return None
    return _decode(text, length)


def decode_url(text: object, length: int | None = None) -> bytes | None:
    """As `decode`, for the alphabet that is safe in addresses."""
    if not isinstance(text, str) or _URL_TEXT.fullmatch(text) is None:
        return None
    return _decode(text.translate(str.maketrans("-_", "+/")), length)


def _decode(text: str, length: int | None) -> bytes | None:
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return None
    return data if length is None or len(data) == length else None
