"""JSON as homeservers send it, and as they take it: strict and fast where the body is well-formed,
forgiving where it is not, so that one odd character in one event cannot stop a whole sync.

No I/O.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

MAX_DEPTH = 200
"""Values nested deeper than this are read as null when a body is too deep to decode as it is."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


class NotJsonError(ValueError):
    """The bytes are no JSON, even read forgivingly."""


def decode(body: bytes) -> Any:
    """The JSON value in `body`.

    Forgives what a peer's encoder may let through: bytes that are no UTF-8, lone surrogates (both
    become U+FFFD), control characters in strings, numbers out of range, values nested deeper than
    `MAX_DEPTH` (they become null, when nothing else helps). Raises NotJsonError for anything else.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        body = _without_deep_values(body)
    try:
        return _clean(json.loads(body.decode("utf-8-sig", errors="replace"), strict=False))
    except (ValueError, RecursionError):
        raise NotJsonError("The body is no JSON.") from None


def encode(value: Any) -> bytes:
    """`value` as JSON. Lone surrogates, which UTF-8 can't carry, become U+FFFD."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(value))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        # An unpaired surrogate can be in a Python string, but in no database and on no wire.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _without_deep_values(body: bytes) -> bytes:
    """`body` with every array or object nested deeper than MAX_DEPTH replaced by null."""
    kept: list[bytes] = []
    depth = 0
    position = 0
    for token in _TOKEN.finditer(body):
        mark = token.group()
        if mark in (b"[", b"{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(body[position : token.start()])
                kept.append(b"null")
        elif mark in (b"]", b"}"):
            if depth == MAX_DEPTH + 1:
                position = token.end()
            depth -= 1
    if depth <= MAX_DEPTH:
        kept.append(body[position:])
    return b"".join(kept)
