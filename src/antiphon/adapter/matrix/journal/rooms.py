"""Rooms as the homeserver last told us: membership and encryption."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.journal.schema import room
from antiphon.core.ids import RoomId


def membership(connection: Connection, room_id: RoomId) -> str | None:
    """`invite`, `join`, `leave`, or None for a room that we have never seen."""
    return connection.execute(
        select(room.c.membership).where(room.c.room_id == room_id)
    ).scalar_one_or_none()


def is_encrypted(connection: Connection, room_id: RoomId) -> bool:
    """Whether encryption was ever switched on in the room."""
    return bool(
        connection.execute(
            select(room.c.encrypted).where(room.c.room_id == room_id)
        ).scalar_one_or_none()
    )


def may_send(connection: Connection, room_id: RoomId) -> bool:
    """Whether plaintext may be sent there: we are in it, and it is not encrypted."""
    row = connection.execute(
        select(room.c.membership, room.c.encrypted).where(room.c.room_id == room_id)
    ).first()
    return row is not None and row.membership == "join" and not row.encrypted


def set_membership(
    connection: Connection,
    room_id: RoomId,
    value: str,
    now_ms: int,
    *,
    inviter: str | None = None,
) -> None:
    """Records a membership; a room that is new is recorded as not encrypted."""
    changed = connection.execute(
        update(room)
        .where(room.c.room_id == room_id)
        .values(membership=value, inviter=inviter, updated_ms=now_ms)
    )
    if changed.rowcount == 0:
        connection.execute(
            insert(room).values(
                room_id=room_id,
                membership=value,
                encrypted=False,
                inviter=inviter,
                updated_ms=now_ms,
            )
        )


def set_encrypted(connection: Connection, room_id: RoomId) -> None:
    """Records that the room is encrypted; nothing ever takes that back."""
    connection.execute(update(room).where(room.c.room_id == room_id).values(encrypted=True))


def with_membership(connection: Connection, value: str) -> tuple[tuple[RoomId, str | None], ...]:
    """The rooms with this membership, each with who invited us."""
    rows = connection.execute(
        select(room.c.room_id, room.c.inviter)
        .where(room.c.membership == value)
        .order_by(room.c.room_id)
    )
    return tuple((RoomId(row.room_id), row.inviter) for row in rows)
