"""Turns: compare-and-set steps of one exchange. Every change names the state that it expects, and
returns whether it happened, so that a decision made elsewhere meanwhile always wins."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, update

from antiphon.adapter.matrix.journal.schema import gap, room
from antiphon.adapter.matrix.journal.schema import turn as table
from antiphon.core.ids import EventId, RoomId, ThreadId, TurnId, UserId
from antiphon.core.model import OPEN_STATES, TurnState

OPEN = tuple(str(state) for state in OPEN_STATES)

QUESTION = "question"  # asks the agent
COMMAND = "command"  # is answered here, in its turn
IMMEDIATE = "immediate"  # is answered here, at once
FIXED = "fixed"  # `text` is the answer
NOTE = "note"  # as fixed, and may be said in an encrypted room too


class Lane(msgspec.Struct, frozen=True, order=True):
    """The key of a chat's lane: its turns run one at a time, in order of `pos`."""

    room_id: RoomId
    place_thread: str = ""
    place_user: str = ""


class Turn(msgspec.Struct, frozen=True):
    """A turn as the journal has it."""

    turn_id: TurnId
    lane: Lane
    pos: int
    kind: str
    state: TurnState
    revision: int
    event_id: EventId
    sender: UserId
    reply_thread: EventId | None
    text: str
    quote: bool
    thread_id: ThreadId | None
    run: str | None
    created_ms: int


def add(connection: Connection, new: Turn) -> bool:
    """Queues a turn; False, changing nothing, where it is known already."""
    if connection.execute(select(table.c.turn_id).where(table.c.turn_id == new.turn_id)).first():
        return False
    connection.execute(
        insert(table).values(
            turn_id=new.turn_id,
            room_id=new.lane.room_id,
            place_thread=new.lane.place_thread,
            place_user=new.lane.place_user,
            pos=new.pos,
            kind=new.kind,
            state=str(new.state),
            revision=new.revision,
            event_id=new.event_id,
            sender=new.sender,
            reply_thread=new.reply_thread or "",
            text=new.text,
            quote=new.quote,
            thread_id=None,
            run=None,
            outcome=None,
            error_code=None,
            created_ms=new.created_ms,
            ended_ms=None,
        )
    )
    return True


def get(connection: Connection, turn_id: TurnId) -> Turn | None:
    """The turn of this id."""
    row = connection.execute(select(table).where(table.c.turn_id == turn_id)).first()
    return None if row is None else as_turn(row)


def open_lanes(connection: Connection, room_id: RoomId | None = None) -> tuple[Lane, ...]:
    """The lanes (of one room) in which something is owed."""
    query = (
        select(table.c.room_id, table.c.place_thread, table.c.place_user)
        .where(table.c.state.in_(OPEN))
        .distinct()
    )
    if room_id is not None:
        query = query.where(table.c.room_id == room_id)
    rows = connection.execute(query)
    return tuple(Lane(RoomId(r.room_id), r.place_thread, r.place_user) for r in rows)


def next_open(connection: Connection, lane: Lane) -> Turn | None:
    """The oldest turn of the lane in which something is owed (an immediate command is in none);
    None, too, while the room waits for a gap or for the memory of the room that it replaces."""
    if _is_held(connection, lane.room_id):
        return None
    row = connection.execute(
        select(table)
        .where(in_lane(lane), table.c.state.in_(OPEN), table.c.kind != IMMEDIATE)
        .order_by(table.c.pos)
        .limit(1)
    ).first()
    return None if row is None else as_turn(row)


def _is_held(connection: Connection, room_id: RoomId) -> bool:
    gaps = select(gap.c.batch).where(gap.c.room_id == room_id).limit(1)
    predecessors = (
        select(room.c.room_id)
        .where(room.c.successor == room_id, room.c.followed.in_(("owed", "tried")))
        .limit(1)
    )
    return any(connection.execute(query).first() is not None for query in (gaps, predecessors))


def open_immediate(connection: Connection) -> tuple[Turn, ...]:
    """Immediate commands (`!stop`) in which something is owed, oldest first."""
    rows = connection.execute(
        select(table)
        .where(table.c.state.in_(OPEN), table.c.kind == IMMEDIATE)
        .order_by(table.c.pos)
    )
    return tuple(as_turn(row) for row in rows)


def count_by_state(connection: Connection) -> dict[TurnState, int]:
    """How many turns there are in each state in which something is owed."""
    rows = connection.execute(
        select(table.c.state, func.count()).where(table.c.state.in_(OPEN)).group_by(table.c.state)
    )
    return {TurnState(state): int(number) for state, number in rows}


def open_in_lane(connection: Connection, lane: Lane, before: int) -> tuple[Turn, ...]:
    """The lane's open turns that came before position `before`, oldest first."""
    rows = connection.execute(
        select(table)
        .where(in_lane(lane), table.c.state.in_(OPEN), table.c.pos < before)
        .order_by(table.c.pos)
    )
    return tuple(as_turn(row) for row in rows)


def open_in_room(connection: Connection, room_id: RoomId) -> tuple[Turn, ...]:
    """The room's open turns, oldest first."""
    rows = connection.execute(
        select(table)
        .where(table.c.room_id == room_id, table.c.state.in_(OPEN))
        .order_by(table.c.pos)
    )
    return tuple(as_turn(row) for row in rows)


def start(
    connection: Connection, turn: Turn, thread_id: ThreadId | None, run: str, quote: bool
) -> bool:
    """queued → running, freezing what the agent will be asked."""
    return _move(
        connection,
        turn,
        (TurnState.QUEUED,),
        TurnState.RUNNING,
        thread_id=thread_id,
        run=run,
        quote=quote,
    )


def answer(
    connection: Connection,
    turn: Turn,
    outcome: str,
    error_code: str | None,
    *,
    expected: Iterable[TurnState] = (TurnState.RUNNING,),
) -> bool:
    """→ answered: the text is fixed (the caller freezes it in the outbox in this transaction)."""
    return _move(
        connection, turn, expected, TurnState.ANSWERED, outcome=outcome, error_code=error_code
    )


def end(
    connection: Connection,
    turn: Turn,
    state: TurnState,
    now_ms: int,
    *,
    expected: Iterable[TurnState] = tuple(OPEN_STATES),
) -> bool:
    """An open turn → `state`, one of the ends."""
    return _move(connection, turn, expected, state, ended_ms=now_ms)


def answered_as(connection: Connection, turn: Turn, revision: int) -> None:
    """The room shows the answer to a later revision than we know of (an older copy of the state was
    put back): the next one comes after it."""
    connection.execute(
        update(table)
        .where(table.c.turn_id == turn.turn_id, table.c.revision < revision)
        .values(revision=revision)
    )


def others_spoke_since(connection: Connection, new: Turn) -> bool:
    """Whether turns of other people stand after this one in its room."""
    row = connection.execute(
        select(table.c.turn_id)
        .where(
            and_(
                table.c.room_id == new.lane.room_id,
                table.c.pos > new.pos,
                table.c.sender != new.sender,
            )
        )
        .limit(1)
    ).first()
    return row is not None


def _move(
    connection: Connection,
    turn: Turn,
    expected: Iterable[TurnState],
    state: TurnState,
    **values: object,
) -> bool:
    """The compare-and-set: only from an expected state, and only of the revision that the caller
    has worked on."""
    changed = connection.execute(
        update(table)
        .where(
            table.c.turn_id == turn.turn_id,
            table.c.revision == turn.revision,
            table.c.state.in_([str(s) for s in expected]),
        )
        .values(state=str(state), **values)
    )
    return changed.rowcount == 1


def in_lane(lane: Lane) -> ColumnElement[bool]:
    """Which turns are the lane's."""
    return and_(
        table.c.room_id == lane.room_id,
        table.c.place_thread == lane.place_thread,
        table.c.place_user == lane.place_user,
    )


def as_turn(row: Row[tuple[object, ...]]) -> Turn:
    """A row of the table."""
    return Turn(
        turn_id=TurnId(row.turn_id),
        lane=Lane(RoomId(row.room_id), row.place_thread, row.place_user),
        pos=row.pos,
        kind=row.kind,
        state=TurnState(row.state),
        revision=row.revision,
        event_id=EventId(row.event_id),
        sender=UserId(row.sender),
        reply_thread=EventId(row.reply_thread) if row.reply_thread else None,
        text=row.text,
        quote=row.quote,
        thread_id=ThreadId(row.thread_id) if row.thread_id else None,
        run=row.run,
        created_ms=row.created_ms,
    )
