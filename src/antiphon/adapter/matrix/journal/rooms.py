"""Rooms as the homeserver last told us: membership and encryption."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.journal.schema import room
from antiphon.core.ids import EventId, RoomId


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


def encrypted(connection: Connection) -> frozenset[RoomId]:
    """The rooms in which encryption was ever switched on."""
    found = connection.execute(select(room.c.room_id).where(room.c.encrypted.is_(True)))
    return frozenset(RoomId(room_id) for room_id in found.scalars())


def may_send(connection: Connection, room_id: RoomId, *, sealed: bool) -> bool:
    """Whether something may be sent there: we are in it, and it is not encrypted, or what we send
    is `sealed` where it must be."""
    row = connection.execute(
        select(room.c.membership, room.c.encrypted).where(room.c.room_id == room_id)
    ).first()
    return row is not None and row.membership == "join" and (sealed or not row.encrypted)


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


def told(
    connection: Connection, room_id: RoomId, members: int | None = None, alias: str | None = None
) -> None:
    """What was said of a room (None: nothing new): how many have joined it, what it is called."""
    values: dict[str, object] = {}
    if members is not None:
        values["members"] = members
    if alias is not None:
        values["alias"] = alias or None
    if values:
        connection.execute(update(room).where(room.c.room_id == room_id).values(**values))


def alias(connection: Connection, room_id: RoomId) -> str | None:
    """What the room calls itself."""
    return connection.execute(
        select(room.c.alias).where(room.c.room_id == room_id)
    ).scalar_one_or_none()


def seen(connection: Connection, room_id: RoomId) -> EventId | None:
    """The newest event of the room's timeline that was journalled."""
    value = connection.execute(
        select(room.c.seen).where(room.c.room_id == room_id)
    ).scalar_one_or_none()
    return None if value is None else EventId(value)


def set_seen(connection: Connection, room_id: RoomId, event_id: str) -> None:
    """The room's timeline was journalled up to this event."""
    connection.execute(update(room).where(room.c.room_id == room_id).values(seen=event_id))


class Upgrade(msgspec.Struct, frozen=True):
    """A room that was replaced. `followed`: owed (look at it), tried (joining needs an invite)."""

    room_id: RoomId
    successor: RoomId
    followed: str


def set_successor(
    connection: Connection, room_id: RoomId, successor: RoomId, *, allowed: bool
) -> bool:
    """The room's tombstone names another room, to be looked at if policy allows; False where that
    is known."""
    changed = connection.execute(
        update(room)
        .where(room.c.room_id == room_id, room.c.successor.is_distinct_from(successor))
        .values(successor=successor, followed="owed" if allowed else "refused")
    )
    return changed.rowcount == 1


def set_followed(connection: Connection, room_id: RoomId, value: str) -> None:
    """What became of following the room's successor."""
    connection.execute(update(room).where(room.c.room_id == room_id).values(followed=value))


def open_upgrades(connection: Connection) -> tuple[Upgrade, ...]:
    """Upgrades that are not decided."""
    rows = connection.execute(
        select(room.c.room_id, room.c.successor, room.c.followed)
        .where(room.c.followed.in_(("owed", "tried")))
        .order_by(room.c.room_id)
    )
    return tuple(Upgrade(RoomId(r.room_id), RoomId(r.successor), r.followed) for r in rows)


def with_membership(connection: Connection, value: str) -> tuple[tuple[RoomId, str | None], ...]:
    """The rooms with this membership, each with who invited us."""
    rows = connection.execute(
        select(room.c.room_id, room.c.inviter)
        .where(room.c.membership == value)
        .order_by(room.c.room_id)
    )
    return tuple((RoomId(row.room_id), row.inviter) for row in rows)
