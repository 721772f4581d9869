"""Statements of erasures that a surface asked its control plane for: it is told of them again with
the rules, and has followed them already. Kept as one mark."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.core.ids import UserId
from antiphon.records import queue

MARK = "forgot"


def add(connection: Connection, user_id: UserId) -> None:
    """This person is erased at our own request."""
    known = _read(connection)
    known[user_id] = None
    _write(connection, known)


def drop(connection: Connection, user_id: UserId) -> None:
    """They were not, after all."""
    known = _read(connection)
    known.pop(user_id, None)
    _write(connection, known)


def is_ours(connection: Connection, user_id: UserId, at_ms: int) -> bool:
    """Whether what is told as an erasure at this time is the one that was asked for here."""
    known = _read(connection)
    if user_id not in known or at_ms > (known[user_id] or at_ms):
        known.pop(user_id, None)
        _write(connection, known)
        return False
    known[user_id] = at_ms
    _write(connection, known)
    return True


def _read(connection: Connection) -> dict[UserId, int | None]:
    text = queue.mark(connection, MARK)
    return {} if text is None else msgspec.json.decode(text, type=dict[UserId, int | None])


def _write(connection: Connection, known: dict[UserId, int | None]) -> None:
    queue.set_mark(connection, MARK, msgspec.json.encode(known).decode())
