"""Inbound: a sync batch and its cursor in one transaction, gaps as debts, and what waits for them.

An event is remembered by its id for ever, so that it causes one turn however often it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from antiphon.adapter.matrix.digest import Batch, RoomNews
from antiphon.adapter.matrix.intake import Intake, Taken
from antiphon.adapter.matrix.journal import debts, outbox, rooms, turns
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.schema import account, gap, inbound
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import RoomId, run_id
from antiphon.core.model import TurnState

BATCH_SPAN = 1_000_000
TIMELINE_START = 500_000
"""Positions of a batch: its timeline from here up, what is read back before it from here down."""


class Gap(msgspec.Struct, frozen=True):
    """Events that are missing before batch `batch` of a room: from `from_token` back to
    `to_token`, or back to our arrival where that is None."""

    room_id: RoomId
    batch: int
    from_token: str
    to_token: str | None


class Skip(msgspec.Struct, frozen=True):
    """An event that became no turn, for the log."""

    room_id: RoomId
    event_id: str
    reason: str
    expected: bool


class Committed(msgspec.Struct):
    """What a batch or a closed gap brought: queued turns, open gaps, rooms that we are no longer
    in, and what was skipped."""

    turns: list[turns.Turn] = msgspec.field(default_factory=list)
    gaps: list[Gap] = msgspec.field(default_factory=list)
    closed: list[RoomId] = msgspec.field(default_factory=list)
    skipped: list[Skip] = msgspec.field(default_factory=list)
    invited: bool = False


def cursor(connection: Connection) -> str | None:
    """The `since` of the next sync; None before the first."""
    value: str | None = connection.execute(
        select(account.c.next_batch).where(account.c.id == 1)
    ).scalar_one()
    return value


def commit_batch(connection: Connection, batch: Batch, intake: Intake, now_ms: int) -> Committed:
    """Journals a batch with its cursor. Committing the same batch again adds nothing."""
    number = 1 + connection.execute(select(account.c.batch).where(account.c.id == 1)).scalar_one()
    connection.execute(
        update(account).where(account.c.id == 1).values(next_batch=batch.next_batch, batch=number)
    )
    result = Committed()
    for invite in batch.invites:
        rooms.set_membership(
            connection, invite.room_id, "invite", now_ms, inviter=invite.inviter or ""
        )
        result.invited = True
    for room_id in batch.left:
        if rooms.membership(connection, room_id) != "leave":
            rooms.set_membership(connection, room_id, "leave", now_ms)
            result.closed.append(room_id)
            _end_turns(connection, room_id, now_ms)
        _stop_waiting(connection, room_id)
    for news in batch.rooms:
        _room(connection, news, batch.since, number, intake, now_ms, result)
    return result


def _room(
    connection: Connection,
    news: RoomNews,
    since: str | None,
    number: int,
    intake: Intake,
    now_ms: int,
    result: Committed,
) -> None:
    before = rooms.membership(connection, news.room_id)
    if before != "join":
        rooms.set_membership(connection, news.room_id, "join", now_ms)
    if news.encrypted:
        rooms.set_encrypted(connection, news.room_id)
    if since is None:
        return  # a first sync: rooms are adopted, their history is not answered
    start = 0
    missing: Gap | None = None
    if before != "join" or news.arrival is not None:
        if news.arrival is not None:
            start = news.arrival
        elif news.limited and news.prev_batch is not None:
            missing = Gap(news.room_id, number, news.prev_batch, None)
        elif not news.limited:
            # Our join came in the state part or not at all: all of this is since we arrived.
            start = 0
    elif news.limited and news.prev_batch is not None:
        missing = Gap(news.room_id, number, news.prev_batch, since)
    if missing is not None:
        connection.execute(insert(gap).values(**msgspec.structs.asdict(missing)))
        result.gaps.append(missing)
    base = number * BATCH_SPAN + TIMELINE_START
    placed = [(base + index, event) for index, event in enumerate(news.events) if index >= start]
    if _has_gap(connection, news.room_id):
        _keep_waiting(connection, news.room_id, placed)
    else:
        _take(connection, news.room_id, placed, intake, now_ms, result)


def open_gaps(connection: Connection) -> tuple[Gap, ...]:
    """All gaps that must still be read back."""
    rows = connection.execute(select(gap).order_by(gap.c.batch))
    return tuple(Gap(RoomId(r.room_id), r.batch, r.from_token, r.to_token) for r in rows)


def known(connection: Connection, event_ids: Iterable[str]) -> frozenset[str]:
    """Those of the events that are journalled already."""
    rows = connection.execute(
        select(inbound.c.event_id).where(inbound.c.event_id.in_(list(event_ids)))
    )
    return frozenset(row.event_id for row in rows)


def close_gap(
    connection: Connection, closed: Gap, found: Sequence[Event], intake: Intake, now_ms: int
) -> Committed:
    """Journals what was read back (`found`, oldest first); when it was the room's last gap, all
    that waited for it becomes turns, in order."""
    result = Committed()
    connection.execute(
        delete(gap).where(gap.c.room_id == closed.room_id, gap.c.batch == closed.batch)
    )
    base = closed.batch * BATCH_SPAN + TIMELINE_START - len(found)
    _keep_waiting(
        connection, closed.room_id, [(base + index, event) for index, event in enumerate(found)]
    )
    if not _has_gap(connection, closed.room_id):
        rows = connection.execute(
            select(inbound.c.pos, inbound.c.event)
            .where(inbound.c.room_id == closed.room_id, inbound.c.state == "pending")
            .order_by(inbound.c.pos)
        )
        waiting = [(row.pos, msgspec.json.decode(row.event, type=Event)) for row in rows]
        _take(connection, closed.room_id, waiting, intake, now_ms, result)
    return result


def _has_gap(connection: Connection, room_id: RoomId) -> bool:
    return (
        connection.execute(select(gap.c.batch).where(gap.c.room_id == room_id).limit(1)).first()
        is not None
    )


def _end_turns(connection: Connection, room_id: RoomId, now_ms: int) -> None:
    """Nothing can be said in a room that we are no longer in; what runs there is cancelled."""
    for open_turn in turns.open_in_room(connection, room_id):
        turns.end(connection, open_turn.turn_id, TurnState.UNDELIVERABLE, now_ms)
        outbox.failed(connection, open_turn.turn_id)
        if open_turn.thread_id is not None and open_turn.state is TurnState.RUNNING:
            owed = Debt(
                "cancel", open_turn.thread_id, run_id(open_turn.turn_id, open_turn.revision)
            )
            debts.add(connection, owed, now_ms)


def _stop_waiting(connection: Connection, room_id: RoomId) -> None:
    """Forgets the gaps of a room that we are no longer in, and what waited for them."""
    connection.execute(delete(gap).where(gap.c.room_id == room_id))
    connection.execute(
        update(inbound)
        .where(inbound.c.room_id == room_id, inbound.c.state == "pending")
        .values(state="ignored", event="")
    )


def _keep_waiting(
    connection: Connection, room_id: RoomId, placed: Sequence[tuple[int, Event]]
) -> None:
    for pos, event in placed:
        if event.event_id not in known(connection, [event.event_id]):
            connection.execute(
                insert(inbound).values(
                    event_id=event.event_id,
                    room_id=room_id,
                    pos=pos,
                    state="pending",
                    event=msgspec.json.encode(event).decode(),
                )
            )


def _take(
    connection: Connection,
    room_id: RoomId,
    placed: Sequence[tuple[int, Event]],
    intake: Intake,
    now_ms: int,
    result: Committed,
) -> None:
    """Turns events into turns. Those that become none leave no row behind, unless they waited."""
    encrypted = rooms.is_encrypted(connection, room_id)
    for pos, event in placed:
        taken = intake.take(room_id, event, pos, now_ms, encrypted=encrypted)
        _settle(connection, room_id, pos, event, taken, result)


def _settle(
    connection: Connection,
    room_id: RoomId,
    pos: int,
    event: Event,
    taken: Taken,
    result: Committed,
) -> None:
    state = "ignored" if taken.turn is None else "taken"
    waited = connection.execute(
        update(inbound)
        .where(inbound.c.event_id == event.event_id, inbound.c.state == "pending")
        .values(state=state, event="")
    ).rowcount
    if taken.turn is None:
        result.skipped.append(Skip(room_id, event.event_id, taken.reason, taken.expected))
        return
    if not waited:
        if known(connection, [event.event_id]):
            return
        connection.execute(
            insert(inbound).values(
                event_id=event.event_id, room_id=room_id, pos=pos, state=state, event=""
            )
        )
    if turns.add(connection, taken.turn):
        result.turns.append(taken.turn)
