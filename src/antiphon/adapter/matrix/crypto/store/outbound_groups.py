"""The Megolm session that we write with in each room."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import outbound_group


class OutboundRow(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` were encrypted with it; `ready` says that it was once shared with everybody."""

    room_id: str
    session_id: str
    pickle: str
    made_ms: int
    messages: int
    ready: bool


def of(connection: Connection, room_id: str) -> OutboundRow | None:
    """The session of a room."""
    columns = [outbound_group.c[name] for name in OutboundRow.__struct_fields__]
    row = connection.execute(select(*columns).where(outbound_group.c.room_id == room_id)).first()
    return None if row is None else OutboundRow(**row._mapping)


def save(connection: Connection, row: OutboundRow) -> None:
    """Keeps the session of a room, in the place of the one before."""
    put(connection, outbound_group, [msgspec.structs.asdict(row)])


def set_ready(connection: Connection, room_id: str, session_id: str) -> None:
    """Everybody has the session, or was told why not."""
    connection.execute(
        update(outbound_group)
        .where(outbound_group.c.room_id == room_id, outbound_group.c.session_id == session_id)
        .values(ready=True)
    )
