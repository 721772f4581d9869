"""Paths of the client-server API, and the reading of its answers' fields. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from antiphon.errors import HomeserverUnreachableError

V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"


def path(*segments: str, base: str = V3) -> str:
    """A path below `/_matrix/client/v3`, every segment quoted whole (`/`, `#` and `?` too)."""
    return base + "".join("/" + quote(segment, safe="") for segment in segments)


def text(answer: Mapping[str, Any], name: str, request: str) -> str:
    """A text that the answer must have. Raises HomeserverUnreachableError where it has not."""
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise misses(name, request)
    return value


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; none where it is no list."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def objects(value: object) -> dict[str, dict[str, Any]]:
    """The entries of an object that are objects; none where it is no object."""
    if not isinstance(value, dict):
        return {}
    return {name: item for name, item in value.items() if isinstance(item, dict)}


def of_users(value: object, users: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The entries of an object by user ID that are objects and of users who were asked for: what
    nobody asked for is nothing that a homeserver may say here."""
    asked = frozenset(users)
    return {user: item for user, item in objects(value).items() if user in asked}


def count(value: object) -> int | None:
    """A number of things, from 0; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def misses(name: str, request: str) -> HomeserverUnreachableError:
    """The error for an answer that lacks what it must have."""
    return HomeserverUnreachableError(
        f"The homeserver's answer to {request} can't be read: it lacks {name}."
    )
