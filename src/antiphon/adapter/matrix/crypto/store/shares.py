"""Who has the Megolm session that we write with, and who was told why not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, select, update

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import share


class ShareRow(msgspec.Struct, frozen=True, kw_only=True):
    """One device and one session: `sent` from `message_index` on, or the code of what withholds it
    (`told`: the device knows)."""

    room_id: str
    session_id: str
    user_id: str
    device_id: str
    curve25519: str
    state: str
    told: bool
    message_index: int
    at_ms: int


def of(connection: Connection, room_id: str, session_id: str) -> dict[tuple[str, str], ShareRow]:
    """All shares of a session, by user and device."""
    columns = [share.c[name] for name in ShareRow.__struct_fields__]
    statement = select(*columns).where(share.c.room_id == room_id, share.c.session_id == session_id)
    rows = (ShareRow(**row._mapping) for row in connection.execute(statement))
    return {(row.user_id, row.device_id): row for row in rows}


def save(connection: Connection, rows: Sequence[ShareRow]) -> None:
    """Keeps shares, each in the place of the one before."""
    put(connection, share, [msgspec.structs.asdict(row) for row in rows])


def forget_others(connection: Connection, room_id: str, session_id: str) -> None:
    """Forgets the shares of the sessions that a room had before."""
    connection.execute(
        delete(share).where(share.c.room_id == room_id, share.c.session_id != session_id)
    )


def again(connection: Connection, user_id: str, device_id: str) -> None:
    """A device may have lost what it was sent: it gets the sessions of all rooms once more."""
    connection.execute(
        update(share)
        .where(share.c.user_id == user_id, share.c.device_id == device_id, share.c.state == "sent")
        .values(state="sending")
    )
