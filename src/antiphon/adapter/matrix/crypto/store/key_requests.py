"""The keys that we asked our own devices for; only such may come forwarded."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import key_request


def asked(connection: Connection, room_id: str, session_id: str) -> str | None:
    """The id of our open request for a session; None where there is none."""
    statement = select(key_request.c.request_id).where(
        key_request.c.room_id == room_id, key_request.c.session_id == session_id
    )
    return connection.execute(statement).scalar_one_or_none()


def add(
    connection: Connection, room_id: str, session_id: str, request_id: str, now_ms: int
) -> None:
    """We ask for a session."""
    row = {"room_id": room_id, "session_id": session_id}
    put(connection, key_request, [{**row, "request_id": request_id, "asked_ms": now_ms}])


def end(connection: Connection, room_id: str, session_id: str) -> None:
    """We ask no more."""
    connection.execute(
        delete(key_request).where(
            key_request.c.room_id == room_id, key_request.c.session_id == session_id
        )
    )
