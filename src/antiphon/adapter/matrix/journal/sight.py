"""What the journal knows that decides about a message, read inside the transaction that takes
it."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, select

from antiphon.adapter.matrix.journal import outbox, own
from antiphon.adapter.matrix.journal.schema import asking, room, usage_owed
from antiphon.adapter.matrix.journal.schema import outbox as sends
from antiphon.adapter.matrix.journal.schema import quiet as quiets
from antiphon.adapter.matrix.journal.schema import turn as turns
from antiphon.adapter.matrix.journal.turns import (
    FIXED,
    IMMEDIATE,
    NOTE,
    OPEN,
    QUESTION,
    Lane,
    in_lane,
)
from antiphon.core.ids import EventId, RoomId, TurnId, UserId
from antiphon.core.limits import MINUTE_MS
from antiphon.core.loops import HISTORY, Exchange, Quiet

FORGOTTEN_AFTER_MS = 10 * MINUTE_MS
"""When a question was asked is of no use for longer."""


class Asked(msgspec.Struct, frozen=True):
    """What one person, or everybody in a room, has asked: when each question of the last minute
    was accepted, how many are open, and the tokens of runs that nobody has counted yet."""

    accepted_ms: tuple[int, ...]
    open: int
    uncounted: int


class Sight:
    """One room as the journal has it."""

    def __init__(self, connection: Connection, room_id: RoomId):
        self._connection = connection
        self.room_id = room_id

    def is_ours(self, event_id: EventId) -> bool:
        """Whether this event of the room is one of our own answers."""
        seen = own.get(self._connection, event_id)
        if seen is not None:
            return seen.room_id == self.room_id
        sent = outbox.by_event(self._connection, event_id)
        return sent is not None and sent.room_id == self.room_id and sent.kind != "redact"

    def members(self) -> int | None:
        """How many have joined the room, we too; None: it was never told."""
        return self._connection.execute(
            select(room.c.members).where(room.c.room_id == self.room_id)
        ).scalar_one_or_none()

    def predecessors(self) -> tuple[RoomId, ...]:
        """The rooms that name this one as their successor, and were not refused."""
        found = self._connection.execute(
            select(room.c.room_id).where(
                room.c.successor == self.room_id, room.c.followed.is_distinct_from("refused")
            )
        )
        return tuple(RoomId(room_id) for room_id in found.scalars())

    def asked(self, now_ms: int, *, by: UserId | None = None) -> Asked:
        """What `by` has asked everywhere, or (None) what everybody has asked in this room."""
        recently = select(asking.c.at_ms).where(asking.c.at_ms > now_ms - MINUTE_MS)
        waiting = select(func.count()).where(turns.c.kind == QUESTION, turns.c.state.in_(OPEN))
        uncounted = select(
            func.coalesce(func.sum(usage_owed.c.input_tokens + usage_owed.c.output_tokens), 0)
        )
        if by is not None:
            recently = recently.where(asking.c.sender == by)
            waiting = waiting.where(turns.c.sender == by)
            uncounted = uncounted.where(usage_owed.c.user_id == by)
        else:
            recently = recently.where(asking.c.room_id == self.room_id)
            waiting = waiting.where(turns.c.room_id == self.room_id)
            uncounted = uncounted.where(usage_owed.c.room_id == self.room_id)
        return Asked(
            tuple(self._connection.execute(recently.order_by(asking.c.at_ms)).scalars()),
            int(self._connection.execute(waiting).scalar_one()),
            int(self._connection.execute(uncounted).scalar_one()),
        )

    def history(self, lane: Lane) -> tuple[Exchange, ...]:
        """The chat's last exchanges, the oldest first."""
        opened = and_(sends.c.turn_id == turns.c.turn_id, sends.c.part == 0, sends.c.kind == "root")
        shown = select(func.min(sends.c.created_ms)).where(opened).scalar_subquery()
        # The text of a fixed turn is our reply; what was said is not kept.
        said = case((turns.c.kind == FIXED, 0), else_=func.length(turns.c.text))
        rows = self._connection.execute(
            select(turns.c.sender, turns.c.created_ms, shown, said)
            .where(in_lane(lane), turns.c.kind.not_in((NOTE, IMMEDIATE)))
            .order_by(turns.c.pos.desc())
            .limit(HISTORY)
        ).all()
        return tuple(Exchange(UserId(r[0]), r[1], r[2], r[3]) for r in reversed(rows))

    def quiet(self, lane: Lane) -> Quiet | None:
        """The loop that was broken in the chat, if any."""
        row = self._connection.execute(select(quiets).where(_of_lane(lane))).first()
        if row is None:
            return None
        senders = msgspec.json.decode(row.senders, type=tuple[UserId, ...])
        return Quiet(senders, row.until_ms, row.times)

    def notes_since(self, since_ms: int, beginning: str) -> int:
        """How many notes with this beginning were said in the room since then."""
        return int(
            self._connection.execute(
                select(func.count()).where(
                    turns.c.room_id == self.room_id,
                    turns.c.kind == FIXED,
                    turns.c.created_ms > since_ms,
                    turns.c.text.startswith(beginning, autoescape=True),
                )
            ).scalar_one()
        )


def keep_quiet(connection: Connection, lane: Lane, quiet: Quiet) -> None:
    """From now on this is kept for the chat."""
    connection.execute(delete(quiets).where(_of_lane(lane)))
    connection.execute(
        insert(quiets).values(
            **msgspec.structs.asdict(lane),
            senders=msgspec.json.encode(quiet.senders).decode(),
            until_ms=quiet.until_ms,
            times=quiet.times,
        )
    )


def note_asking(
    connection: Connection,
    turn_id: TurnId,
    revision: int,
    room_id: RoomId,
    sender: UserId,
    now_ms: int,
) -> None:
    """The agent is to be asked this; what is too old to be counted goes."""
    connection.execute(delete(asking).where(asking.c.at_ms < now_ms - FORGOTTEN_AFTER_MS))
    connection.execute(
        delete(asking).where(asking.c.turn_id == turn_id, asking.c.revision == revision)
    )
    connection.execute(
        insert(asking).values(
            turn_id=turn_id, revision=revision, room_id=room_id, sender=sender, at_ms=now_ms
        )
    )


def _of_lane(lane: Lane) -> ColumnElement[bool]:
    return and_(*(quiets.c[name] == value for name, value in msgspec.structs.asdict(lane).items()))
