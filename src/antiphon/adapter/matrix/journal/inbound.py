"""Inbound: a sync batch and its cursor in one transaction, gaps as debts, and what waits for them.

An event is remembered by its id for ever, so that it causes one turn however often it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import DataError

from antiphon.adapter.matrix.digest import Batch, RoomNews
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import changes, rooms, turns, unreadable
from antiphon.adapter.matrix.journal.schema import account, gap, inbound
from antiphon.adapter.matrix.journal.schema import unreadable as unread
from antiphon.adapter.matrix.journal.taking import Taken, Taker
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, RoomId
from antiphon.core.turns import RoomLeft

BATCH_SPAN = 1_000_000
TIMELINE_START = 500_000
"""Positions of a batch: its timeline from here up, what is read back before it from here down."""


POISON = (ArithmeticError, AttributeError, DataError, LookupError, TypeError, ValueError)
"""What a room's news could break in our own code or as data; a failing database is none of it."""


class Gap(msgspec.Struct, frozen=True):
    """Events that are missing before batch `batch` of a room: from `from_token` back to
    `to_token`, to `until_event` (not itself), or to our arrival, whichever is given or comes
    first."""

    room_id: RoomId
    batch: int
    from_token: str
    to_token: str | None
    until_event: EventId | None = None


class Committed(Taken):
    """What a batch or a closed gap brought, beside what its events changed: open gaps, rooms that
    are new to us, rooms that we are no longer in, rooms that are caught up, invites, and rooms
    whose news broke the journalling and was left out."""

    gaps: list[Gap] = msgspec.field(default_factory=list)
    adopted: list[RoomId] = msgspec.field(default_factory=list)
    closed: list[RoomId] = msgspec.field(default_factory=list)
    caught_up: list[RoomId] = msgspec.field(default_factory=list)
    upgraded: list[RoomId] = msgspec.field(default_factory=list)
    poisoned: list[tuple[RoomId, str]] = msgspec.field(default_factory=list)
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
        rooms.told(connection, invite.room_id, alias=invite.alias)
        result.invited = True
    for room_id in batch.left:
        close_room(connection, room_id, intake, now_ms, result)
    # A room that a first sync leaves out is not closed for that: the answer can be an old one.
    # Reconciliation asks the homeserver for our rooms.
    # A room that was replaced comes before the one that replaces it, so that this is known there.
    for news in sorted(batch.rooms, key=lambda news: news.successor is None):
        try:
            with connection.begin_nested():
                _room(connection, news, batch.since, number, intake, now_ms, result)
        except POISON as error:
            # One room's news must not stop the others' (nor be tried for ever).
            result.poisoned.append((news.room_id, f"{type(error).__name__}: {error}"[:300]))
    return result


def close_room(
    connection: Connection, room_id: RoomId, intake: Intake, now_ms: int, result: Committed
) -> None:
    """We are no longer in the room: nothing can be said there, what runs there is cancelled, what
    waits for it is forgotten. Again: changes nothing."""
    if rooms.membership(connection, room_id) != "leave":
        rooms.set_membership(connection, room_id, "leave", now_ms)
        result.closed.append(room_id)
        for turn in turns.open_in_room(connection, room_id):
            changes.happen(connection, turn, RoomLeft(), intake.device_id, now_ms)
    connection.execute(delete(gap).where(gap.c.room_id == room_id))
    connection.execute(
        update(inbound)
        .where(inbound.c.room_id == room_id, inbound.c.state.in_(("pending", unreadable.STATE)))
        .values(state="ignored", event="")
    )
    connection.execute(delete(unread).where(unread.c.room_id == room_id))


def _room(
    connection: Connection,
    news: RoomNews,
    since: str | None,
    number: int,
    intake: Intake,
    now_ms: int,
    result: Committed,
) -> None:
    room_id = news.room_id
    before = rooms.membership(connection, room_id)
    if before != "join":
        rooms.set_membership(connection, room_id, "join", now_ms)
        result.adopted.append(room_id)
    if news.encrypted:
        rooms.set_encrypted(connection, room_id)
    rooms.told(connection, room_id, news.members, news.alias)
    if news.successor is not None and news.upgraded_by is not None:
        allowed = intake.policy.access.may_invite(news.upgraded_by)
        if rooms.set_successor(connection, room_id, news.successor, allowed=allowed):
            result.upgraded.append(room_id)
    seen = rooms.seen(connection, room_id)
    view = _view(news, since, before, seen, number)
    if view.missing is not None:
        connection.execute(insert(gap).values(**msgspec.structs.asdict(view.missing)))
        result.gaps.append(view.missing)
    if news.events:
        rooms.set_seen(connection, room_id, news.events[-1].event_id)
    base = number * BATCH_SPAN + TIMELINE_START
    placed = [(base + i, event) for i, event in enumerate(news.events) if i >= view.start]
    if _has_gap(connection, room_id):
        _keep_waiting(connection, room_id, placed, now_ms)
    else:
        live = intake.is_live(number)
        _take(connection, room_id, placed, intake, now_ms, result, live=live)


class _View(msgspec.Struct, frozen=True):
    """Which of a room's new events count (from index `start`), and what is missing before them."""

    start: int
    missing: Gap | None = None


def _view(
    news: RoomNews, since: str | None, before: str | None, seen: EventId | None, number: int
) -> _View:
    """Which events of a timeline are addressed to us.

    A room that is new to us counts from our arrival; in a first sync it is adopted without its
    history. With a lost cursor, a room that we know counts from the last event seen of it."""
    room_id, events = news.room_id, news.events
    can_read_back = news.limited and news.prev_batch is not None

    def lacking(to_token: str | None, until: EventId | None) -> Gap | None:
        if not can_read_back:
            return None
        assert news.prev_batch is not None
        return Gap(room_id, number, news.prev_batch, to_token, until)

    if since is None:
        if before != "join" or seen is None:
            return _View(len(events))
        ids = [event.event_id for event in events]
        if seen in ids:
            return _View(max(ids.index(seen) + 1, news.arrival or 0))
        if news.arrival is None or (news.invited_before and can_read_back):
            return _View(0, lacking(None, seen))
        return _View(news.arrival)
    if news.invited_before and can_read_back:
        return _View(0, lacking(None, None))
    if news.arrival is not None:
        return _View(news.arrival)
    if before != "join":
        return _View(0, lacking(None, None))
    return _View(0, lacking(since, None))


def open_gaps(connection: Connection) -> tuple[Gap, ...]:
    """All gaps that must still be read back."""
    rows = connection.execute(select(gap).order_by(gap.c.batch))
    return tuple(
        Gap(RoomId(r.room_id), r.batch, r.from_token, r.to_token, r.until_event) for r in rows
    )


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
    placed = [(base + index, event) for index, event in enumerate(found)]
    _keep_waiting(connection, closed.room_id, placed, now_ms)
    if not _has_gap(connection, closed.room_id):
        result.caught_up.append(closed.room_id)
        rows = connection.execute(
            select(inbound.c.pos, inbound.c.event)
            .where(inbound.c.room_id == closed.room_id, inbound.c.state == "pending")
            .order_by(inbound.c.pos)
        )
        waiting = [(row.pos, msgspec.json.decode(row.event, type=Event)) for row in rows]
        live = intake.is_live(closed.batch)
        _take(connection, closed.room_id, waiting, intake, now_ms, result, live=live)
    return result


def next_place(connection: Connection, room_id: RoomId) -> int:
    """A position after all that the room has said, and before what the next batch brings."""
    newest = connection.execute(
        select(func.max(inbound.c.pos)).where(inbound.c.room_id == room_id)
    ).scalar_one()
    number = connection.execute(select(account.c.batch).where(account.c.id == 1)).scalar_one()
    return int(max(newest or 0, number * BATCH_SPAN + TIMELINE_START)) + 1


def become_readable(
    connection: Connection,
    room_id: RoomId,
    events: Sequence[Event],
    intake: Intake,
    now_ms: int,
) -> Committed:
    """The keys of these messages (oldest first) have come: they count from now, after all that the
    room has said so far. Those that wait no longer are left out."""
    result = Committed()
    still = {waiting.event.event_id for waiting in unreadable.waiting(connection, room_id)}
    found = [event for event in events if event.event_id in still]
    base = next_place(connection, room_id)
    if _has_gap(connection, room_id):
        for event in found:
            unreadable.settled(connection, event.event_id, "pending")
            connection.execute(
                update(inbound)
                .where(inbound.c.event_id == event.event_id)
                .values(event=msgspec.json.encode(event).decode())
            )
        return result
    _take(
        connection,
        room_id,
        [(base + index, event) for index, event in enumerate(found)],
        intake,
        now_ms,
        result,
    )
    for event in found:
        unreadable.settled(connection, event.event_id, "taken")
    return result


def _has_gap(connection: Connection, room_id: RoomId) -> bool:
    return (
        connection.execute(select(gap.c.batch).where(gap.c.room_id == room_id).limit(1)).first()
        is not None
    )


def _keep_waiting(
    connection: Connection, room_id: RoomId, placed: Sequence[tuple[int, Event]], now_ms: int
) -> None:
    for pos, event in placed:
        if event.event_id in known(connection, [event.event_id]):
            # Delivered twice: what counts is where it was said first.
            connection.execute(
                update(inbound)
                .where(
                    inbound.c.event_id == event.event_id,
                    inbound.c.state == "pending",
                    inbound.c.pos > pos,
                )
                .values(pos=pos)
            )
        else:
            connection.execute(
                insert(inbound).values(
                    event_id=event.event_id,
                    room_id=room_id,
                    pos=pos,
                    state="pending",
                    event=msgspec.json.encode(event).decode(),
                    at_ms=now_ms,
                )
            )


def _take(
    connection: Connection,
    room_id: RoomId,
    placed: Sequence[tuple[int, Event]],
    intake: Intake,
    now_ms: int,
    result: Committed,
    *,
    live: bool = True,
) -> None:
    """Takes events in order. One that breaks our own code (or is no data for the database) is
    left out and reported; it stops neither the others nor the sync."""
    try:
        result.merge(_taken(connection, room_id, placed, intake, now_ms, live))
    except POISON:
        for pos, event in placed:
            try:
                result.merge(_taken(connection, room_id, [(pos, event)], intake, now_ms, live))
            except POISON as error:
                result.poisoned.append((room_id, f"{type(error).__name__}: {error}"[:300]))
                connection.execute(
                    update(inbound)
                    .where(inbound.c.event_id == event.event_id)
                    .values(state="ignored", event="")
                )


def _taken(
    connection: Connection,
    room_id: RoomId,
    placed: Sequence[tuple[int, Event]],
    intake: Intake,
    now_ms: int,
    live: bool,
) -> Taken:
    """What these events change, all of it or (where one raises) nothing."""
    result = Taken()
    with connection.begin_nested():
        encrypted = rooms.is_encrypted(connection, room_id)
        taker = Taker(
            connection,
            room_id,
            intake,
            now_ms,
            encrypted=encrypted,
            live=live,
            result=result,
        )
        for pos, event in placed:
            taker.take(event, pos)
    return result
