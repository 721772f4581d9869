"""Encrypted messages that could not be read when they came: debts, each until its key comes, it is
taken back, or it is given up."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from antiphon.adapter.matrix.journal import turns
from antiphon.adapter.matrix.journal.schema import inbound, unreadable
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, RoomId

STATE = "unreadable"
"""Of the row in `inbound`."""


class Waiting(msgspec.Struct, frozen=True):
    """A message that waits for its key since `since_ms`; `noted`: somebody was told."""

    event: Event
    room_id: RoomId
    session_id: str
    since_ms: int
    noted: bool


def add(
    connection: Connection, room_id: RoomId, event: Event, session_id: str, pos: int, now_ms: int
) -> bool:
    """Keeps a message; False where it is known already, readable or not."""
    row = connection.execute(
        select(inbound.c.state).where(inbound.c.event_id == event.event_id)
    ).first()
    if row is not None and row.state != "pending":
        return False
    values = {"room_id": room_id, "pos": pos, "state": STATE, "event": "", "at_ms": now_ms}
    if row is None:
        connection.execute(insert(inbound).values(event_id=event.event_id, **values))
    else:
        connection.execute(
            update(inbound).where(inbound.c.event_id == event.event_id).values(**values)
        )
    connection.execute(
        insert(unreadable).values(
            event_id=event.event_id,
            room_id=room_id,
            session_id=session_id,
            event=msgspec.json.encode(event).decode(),
            since_ms=now_ms,
            noted=False,
        )
    )
    return True


def waiting(connection: Connection, room_id: RoomId | None = None) -> tuple[Waiting, ...]:
    """All of them, or a room's, in the order in which they were said."""
    query = select(unreadable).join(inbound, inbound.c.event_id == unreadable.c.event_id)
    if room_id is not None:
        query = query.where(unreadable.c.room_id == room_id)
    return tuple(
        Waiting(
            event=msgspec.json.decode(row.event, type=Event),
            room_id=RoomId(row.room_id),
            session_id=row.session_id,
            since_ms=row.since_ms,
            noted=row.noted,
        )
        for row in connection.execute(query.order_by(inbound.c.pos))
    )


def settled(connection: Connection, event_id: EventId | str, state: str) -> None:
    """It waits no longer: it was `taken`, or is `ignored`."""
    connection.execute(delete(unreadable).where(unreadable.c.event_id == event_id))
    connection.execute(
        update(inbound)
        .where(inbound.c.event_id == event_id, inbound.c.state == STATE)
        .values(state=state)
    )


def say(connection: Connection, note: Turn, about: list[EventId], *, give_up: bool) -> bool:
    """Queues a note about messages, which are given up or still waited for; False where it was
    said before."""
    if give_up:
        for event_id in about:
            settled(connection, event_id, "ignored")
    else:
        connection.execute(
            update(unreadable).where(unreadable.c.event_id.in_(about)).values(noted=True)
        )
    return turns.add(connection, note)


def count(connection: Connection) -> int:
    """How many wait."""
    return int(connection.execute(select(func.count()).select_from(unreadable)).scalar_one())
