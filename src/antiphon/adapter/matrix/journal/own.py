"""Our own answer events as /sync has shown them: what stands in the room, whoever sent it.

A process that has lost its memory, or that never learned what became of a send, learns it here.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.journal.schema import own_event
from antiphon.core.ids import EventId, RoomId, TurnId


class OwnEvent(msgspec.Struct, frozen=True):
    """One event of an answer. `root`: the event that opens its part (itself, or what it edits)."""

    event_id: EventId
    room_id: RoomId
    turn_id: TurnId
    part: int
    root: EventId
    final: bool
    last: bool
    revision: int
    ts: int
    redacted: bool = False

    @property
    def rank(self) -> tuple[int, str]:
        """By which one edit outranks another (client-server API, "Event replacements")."""
        return (self.ts, self.event_id)


def add(connection: Connection, seen: OwnEvent) -> bool:
    """Records an event; False where it is known."""
    if get(connection, seen.event_id) is not None:
        return False
    connection.execute(insert(own_event).values(**msgspec.structs.asdict(seen)))
    return True


def get(connection: Connection, event_id: EventId) -> OwnEvent | None:
    """The event of this id."""
    row = connection.execute(select(own_event).where(own_event.c.event_id == event_id)).first()
    return None if row is None else OwnEvent(*row)


def of_turn(connection: Connection, turn_id: TurnId) -> tuple[OwnEvent, ...]:
    """All that stands in the room of a turn's answer, by part and rank."""
    rows = connection.execute(select(own_event).where(own_event.c.turn_id == turn_id))
    events = [OwnEvent(*row) for row in rows]
    return tuple(sorted(events, key=lambda e: (e.part, e.rank)))


def redacted(connection: Connection, event_id: EventId) -> None:
    """The event's content is gone."""
    connection.execute(
        update(own_event).where(own_event.c.event_id == event_id).values(redacted=True)
    )


def is_whole(events: tuple[OwnEvent, ...], revision: int) -> bool:
    """Whether the whole answer to this revision (or a later one) stands in the room."""
    finals = [e for e in events if e.final and not e.redacted and e.revision >= revision]
    ends = [e.part for e in finals if e.last]
    return bool(ends) and {e.part for e in finals} >= set(range(min(ends) + 1))


def outranking(events: tuple[OwnEvent, ...], revision: int) -> tuple[OwnEvent, ...]:
    """The partial edits that clients show in the place of a final: those of this revision or an
    older one whose rank is above that of their part's newest final (a timed-out send that landed
    late, a server clock that stepped back)."""
    late: list[OwnEvent] = []
    for part in {e.part for e in events}:
        here = [e for e in events if e.part == part and not e.redacted]
        finals = [e for e in here if e.final and e.revision == revision]
        if finals:
            best = max(e.rank for e in finals)
            late.extend(
                e
                for e in here
                if not (e.final and e.revision == revision)
                and e.revision <= revision
                and e.event_id != e.root
                and e.rank > best
            )
    return tuple(late)
