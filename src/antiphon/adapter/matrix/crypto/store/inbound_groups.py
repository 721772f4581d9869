"""Megolm sessions that we can read with, and which of them the key backup has not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, and_, delete, func, select
from sqlalchemy import insert as insert_into

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import backup_owed, inbound_group


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session. `user_id` is who gave it to us by Olm (None: nobody vouches for it), `source`
    own, direct, forwarded or backup; it is readable from `first_index` on."""

    room_id: str
    session_id: str
    sender_key: str
    user_id: str | None
    ed25519: str
    source: str
    first_index: int
    pickle: str
    made_ms: int


class GroupName(msgspec.Struct, frozen=True, order=True):
    """Names a session."""

    room_id: str
    session_id: str
    sender_key: str


_COLUMNS = [inbound_group.c[name] for name in GroupRow.__struct_fields__]


def of(connection: Connection, room_id: str, session_id: str) -> list[GroupRow]:
    """All that go by this id in the room, whoever gave them."""
    statement = (
        select(*_COLUMNS)
        .where(inbound_group.c.room_id == room_id, inbound_group.c.session_id == session_id)
        .order_by(inbound_group.c.first_index, inbound_group.c.sender_key)
    )
    return [GroupRow(**row._mapping) for row in connection.execute(statement)]


def get(connection: Connection, name: GroupName) -> GroupRow | None:
    """One session."""
    statement = select(*_COLUMNS).where(
        inbound_group.c.room_id == name.room_id,
        inbound_group.c.session_id == name.session_id,
        inbound_group.c.sender_key == name.sender_key,
    )
    row = connection.execute(statement).first()
    return None if row is None else GroupRow(**row._mapping)


def in_another_room(connection: Connection, room_id: str, session_id: str) -> bool:
    """Whether a session with this id is known, but of another room."""
    statement = (
        select(inbound_group.c.room_id)
        .where(inbound_group.c.session_id == session_id, inbound_group.c.room_id != room_id)
        .limit(1)
    )
    return connection.execute(statement).first() is not None


def save(connection: Connection, row: GroupRow, *, backed_up: bool = False) -> None:
    """Keeps a session, in the place of one with the same name; it is owed to the backup then,
    unless it came from there."""
    put(connection, inbound_group, [msgspec.structs.asdict(row)])
    name = {"room_id": row.room_id, "session_id": row.session_id, "sender_key": row.sender_key}
    if backed_up:
        _settle(connection, GroupName(**name))
    else:
        put(connection, backup_owed, [name])


def count(connection: Connection) -> int:
    """How many there are."""
    return int(connection.execute(select(func.count()).select_from(inbound_group)).scalar_one())


def owe_all(connection: Connection) -> None:
    """All are owed to the backup: it is a new one."""
    names = [inbound_group.c[name] for name in GroupName.__struct_fields__]
    connection.execute(delete(backup_owed))
    connection.execute(
        insert_into(backup_owed).from_select(list(GroupName.__struct_fields__), select(*names))
    )


def owed(connection: Connection, limit: int) -> list[GroupRow]:
    """Sessions that the backup has not."""
    statement = (
        select(*_COLUMNS)
        .join(
            backup_owed,
            and_(*(backup_owed.c[n] == inbound_group.c[n] for n in GroupName.__struct_fields__)),
        )
        .order_by(*(backup_owed.c[n] for n in GroupName.__struct_fields__))
        .limit(limit)
    )
    return [GroupRow(**row._mapping) for row in connection.execute(statement)]


def owed_count(connection: Connection) -> int:
    """How many sessions the backup has not."""
    return int(connection.execute(select(func.count()).select_from(backup_owed)).scalar_one())


def paid(connection: Connection, saved: Sequence[tuple[GroupName, int]]) -> None:
    """The backup has these sessions from these first indexes on; one that has become better
    meanwhile stays owed."""
    for name, first_index in saved:
        row = get(connection, name)
        if row is None or row.first_index == first_index:
            _settle(connection, name)


def _settle(connection: Connection, name: GroupName) -> None:
    connection.execute(
        delete(backup_owed).where(
            *(backup_owed.c[n] == getattr(name, n) for n in GroupName.__struct_fields__)
        )
    )
