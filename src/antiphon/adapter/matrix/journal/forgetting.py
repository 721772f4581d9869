"""Forgetting: what the journal holds of rooms, and how a reset takes it out.

What stays of a room is what the homeserver says of it (that we are in it, that it is encrypted),
the last event seen and the ids of all of them, so that nothing of before is ever read as new.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, Table, delete, func, insert, select, update

from antiphon.adapter.matrix.journal import changes, debts, rooms, turns
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.schema import (
    asking,
    debt,
    forgotten,
    gap,
    inbound,
    outbox,
    own_event,
    quiet,
    room,
    turn,
    unreadable,
)
from antiphon.core.ids import RoomId, RunId, ThreadId
from antiphon.core.turns import RoomLeft

NO_RUN = RunId("")
"""In a debt that is about a whole thread."""

_OF_ROOMS: dict[str, Table] = {
    "turns": turn,
    "sends": outbox,
    "own_events": own_event,
    "gaps": gap,
    "unreadable": unreadable,
}


class RoomHeld(msgspec.Struct, frozen=True):
    """What the journal holds of a room. `rows` by what they are, `open_turns` of them still owed;
    `threads`: the agent's threads that its turns name."""

    room_id: RoomId
    membership: str
    encrypted: bool
    rows: dict[str, int]
    open_turns: int
    threads: tuple[ThreadId, ...]


def held(connection: Connection) -> tuple[RoomHeld, ...]:
    """What the journal holds, room by room."""
    rows: dict[str, dict[str, int]] = {}
    for name, table in _OF_ROOMS.items():
        query = select(table.c.room_id, func.count()).group_by(table.c.room_id)
        for room_id, count in connection.execute(query):
            rows.setdefault(room_id, {})[name] = count
    open_turns: dict[str, int] = {}
    for room_id, count in connection.execute(
        select(turn.c.room_id, func.count())
        .where(turn.c.state.in_(turns.OPEN))
        .group_by(turn.c.room_id)
    ):
        open_turns[room_id] = count
    threads: dict[str, list[ThreadId]] = {}
    for room_id, thread_id in connection.execute(
        select(turn.c.room_id, turn.c.thread_id).where(turn.c.thread_id.is_not(None)).distinct()
    ):
        threads.setdefault(room_id, []).append(ThreadId(thread_id))
    known = {
        r.room_id: (r.membership, r.encrypted)
        for r in connection.execute(select(room.c.room_id, room.c.membership, room.c.encrypted))
    }
    return tuple(
        RoomHeld(
            room_id=RoomId(room_id),
            membership=known.get(room_id, ("leave", False))[0],
            encrypted=known.get(room_id, ("leave", False))[1],
            rows=rows.get(room_id, {}),
            open_turns=open_turns.get(room_id, 0),
            threads=tuple(sorted(threads.get(room_id, ()))),
        )
        for room_id in sorted({*known, *rows})
    )


def forget(
    connection: Connection,
    room_ids: Iterable[RoomId],
    threads: Iterable[ThreadId],
    *,
    erase: bool,
    unread: bool,
    device_id: str,
    now_ms: int,
) -> None:
    """Takes everything of these rooms out of the journal, in this transaction; the agent is owed
    the end of what runs, and with `erase` the end of `threads`.

    `unread`: the homeserver could not be asked, so what the next catching up brings is from before.
    Again: changes nothing."""
    for room_id in room_ids:
        _empty(connection, room_id, device_id, now_ms)
        connection.execute(delete(forgotten).where(forgotten.c.room_id == room_id))
        if rooms.membership(connection, room_id) == "join":
            connection.execute(insert(forgotten).values(room_id=room_id, unread=unread))
    if erase:
        for thread_id in threads:
            # The end of the thread is the end of all that runs in it.
            connection.execute(delete(debt).where(debt.c.thread_id == thread_id))
            debts.add(connection, Debt("forget", thread_id, NO_RUN), now_ms)


def leave(connection: Connection, room_ids: Iterable[RoomId], now_ms: int) -> None:
    """We have left these rooms and the homeserver has forgotten that we were there."""
    for room_id in room_ids:
        connection.execute(delete(forgotten).where(forgotten.c.room_id == room_id))
        connection.execute(delete(inbound).where(inbound.c.room_id == room_id))
        if rooms.is_encrypted(connection, room_id):
            rooms.set_membership(connection, room_id, "leave", now_ms)
            connection.execute(
                update(room)
                .where(room.c.room_id == room_id)
                .values(seen=None, successor=None, followed=None)
            )
        else:
            connection.execute(delete(room).where(room.c.room_id == room_id))


def adopt(connection: Connection, device_id: str, now_ms: int) -> list[RoomId]:
    """The rooms that a reset has forgotten and in which we still are: known again from now on. Of
    those that could not be read up to the reset, what the catching up brought is dropped."""
    adopted = []
    for row in connection.execute(select(forgotten).order_by(forgotten.c.room_id)).all():
        if row.unread:
            _empty(connection, RoomId(row.room_id), device_id, now_ms)
        if rooms.membership(connection, RoomId(row.room_id)) == "join":
            adopted.append(RoomId(row.room_id))
    connection.execute(delete(forgotten))
    return adopted


def _empty(connection: Connection, room_id: RoomId, device_id: str, now_ms: int) -> None:
    for open_turn in turns.open_in_room(connection, room_id):
        changes.happen(connection, open_turn, RoomLeft(), device_id, now_ms)
    for table in (*_OF_ROOMS.values(), asking, quiet):
        connection.execute(delete(table).where(table.c.room_id == room_id))
    connection.execute(
        update(inbound)
        .where(inbound.c.room_id == room_id, inbound.c.state.in_(("pending", "unreadable")))
        .values(state="ignored", event="")
    )
    connection.execute(
        update(room).where(room.c.room_id == room_id).values(successor=None, followed=None)
    )
