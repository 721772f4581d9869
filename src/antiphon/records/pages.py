"""Long lists in pages: each page says where the next one begins, by the keys of its last row, so
that rows which come or go meanwhile neither repeat nor hide others."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select, tuple_

from antiphon.errors import PlatformError

T = TypeVar("T")

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
MAX_INTEGER = 2**63 - 1


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list, and the cursor of what comes after; None: nothing does."""

    items: tuple[T, ...]
    cursor: str | None = None


class Cut(msgspec.Struct, frozen=True):
    """Which page is asked for: at most `limit` rows after `cursor` (None: from the beginning)."""

    cursor: str | None = None
    limit: int = DEFAULT_LIMIT


def read_page(
    connection: Connection,
    statement: Select[Any],
    keys: Sequence[Any],
    cut: Cut,
    make: Callable[[Row[Any]], T],
    *,
    newest_first: bool = False,
) -> Page[T]:
    """One page of `statement`, ordered by the columns `keys`, which name a row. Raises
    PlatformError `bad_cursor`, `bad_value` (the limit)."""
    if not 1 <= cut.limit <= MAX_LIMIT:
        raise PlatformError(f"A page has 1 to {MAX_LIMIT} entries.", code="bad_value")
    if cut.cursor is not None:
        after = tuple_(*_decoded(cut.cursor, [key.type.python_type for key in keys]))
        place = tuple_(*keys)
        statement = statement.where(place < after if newest_first else place > after)
    order = [key.desc() if newest_first else key for key in keys]
    rows = connection.execute(statement.order_by(*order).limit(cut.limit + 1)).all()
    shown = rows[: cut.limit]
    cursor = None
    if len(rows) > cut.limit:
        last = shown[-1]._mapping
        cursor = _encoded([last[key.name] for key in keys])
    return Page(tuple(make(row) for row in shown), cursor)


def _encoded(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def _decoded(cursor: str, kinds: list[type]) -> list[Any]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        values = msgspec.json.decode(raw, type=list[int | str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise _bad_cursor() from error
    if [type(value) for value in values] != kinds:
        raise _bad_cursor()
    if any(
        "\0" in value if isinstance(value, str) else abs(value) > MAX_INTEGER for value in values
    ):
        raise _bad_cursor()
    return values


def _bad_cursor() -> PlatformError:
    return PlatformError("This is no cursor that was given here.", code="bad_cursor")
