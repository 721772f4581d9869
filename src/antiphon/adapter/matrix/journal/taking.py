"""What a timeline event changes in the journal: a new turn, an edit or redaction of a question,
a redaction of an answer, or the room's word on what we have sent ourselves.

Runs inside the transaction that journals the event; every event counts once, by its id.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.convert import Edited, OwnAnswer, Redacted, Unreadable, read_event
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import changes, outbox, own, stopping, turns, unreadable
from antiphon.adapter.matrix.journal.own import OwnEvent
from antiphon.adapter.matrix.journal.schema import inbound
from antiphon.adapter.matrix.journal.sight import Sight, keep_quiet, note_asking
from antiphon.adapter.matrix.journal.turns import IMMEDIATE, QUESTION, Lane, Turn
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, RoomId, TurnId, TxnId, final_txn, root_txn, turn_id
from antiphon.core.model import TurnState
from antiphon.core.turns import (
    AnswerRedacted,
    AnswerSeen,
    Change,
    Happening,
    QuestionEdited,
    QuestionRedacted,
)


class Skip(msgspec.Struct, frozen=True):
    """An event that changed nothing, for the log."""

    room_id: RoomId
    event_id: str
    reason: str
    expected: bool


class Taken(msgspec.Struct):
    """What events have changed: `queued` turns to be worked on, `interrupted` ones to let go of,
    `answered` ones that the room showed to be whole, whether redactions or debts are owed, and how
    many messages wait for a key."""

    queued: list[Turn] = msgspec.field(default_factory=list)
    interrupted: list[Turn] = msgspec.field(default_factory=list)
    answered: list[Turn] = msgspec.field(default_factory=list)
    skipped: list[Skip] = msgspec.field(default_factory=list)
    redactions: bool = False
    debts: bool = False
    unreadable: int = 0

    def merge(self, more: Taken) -> None:
        """Adds what other events have changed."""
        self.queued.extend(more.queued)
        self.interrupted.extend(more.interrupted)
        self.answered.extend(more.answered)
        self.skipped.extend(more.skipped)
        self.redactions |= more.redactions
        self.debts |= more.debts
        self.unreadable += more.unreadable


class Taker:
    """Takes the events of one room, oldest first, in one transaction."""

    def __init__(
        self,
        connection: Connection,
        room_id: RoomId,
        intake: Intake,
        now_ms: int,
        *,
        encrypted: bool,
        live: bool,
        result: Taken,
    ):
        self._connection = connection
        self._room_id = room_id
        self._intake = intake
        self._now_ms = now_ms
        self._encrypted = encrypted
        self._live = live
        self._result = result
        self._sight = Sight(connection, room_id)

    def take(self, event: Event, pos: int) -> None:
        """Takes one event; a second time it changes nothing."""
        reading = read_event(event, self._intake.me)
        if isinstance(reading, Unreadable) and self._intake.decrypts:
            self._wait_for_key(event, reading, pos)
        elif isinstance(reading, OwnAnswer):
            self._settled(event, pos, waited_only=True)
            self._own(reading)
        elif isinstance(reading, Redacted):
            if self._settled(event, pos):
                self._redaction(reading, pos)
        elif isinstance(reading, Edited):
            if self._settled(event, pos):
                self._edit(reading, pos)
        else:
            taken = self._intake.take(
                self._sight,
                reading,
                pos,
                self._now_ms,
                encrypted=self._encrypted,
                live=self._live,
            )
            if taken.turn is None and not taken.settled:
                if event.sender == self._intake.me and event.transaction_id is not None:
                    sent = TxnId(event.transaction_id)
                    outbox.sent(self._connection, sent, EventId(event.event_id))
                self._settled(event, pos, waited_only=True)
                self._skip(event, taken.reason, expected=taken.expected)
            elif self._settled(event, pos):
                if taken.reason:
                    self._skip(event, taken.reason, expected=taken.expected)
                if taken.quiet is not None and taken.lane is not None:
                    keep_quiet(self._connection, taken.lane, taken.quiet)
                if taken.turn is not None:
                    self._queue(taken.turn)

    def _queue(self, turn: Turn) -> None:
        if not turns.add(self._connection, turn):
            return
        self._result.queued.append(turn)
        if turn.kind == QUESTION:
            self._count(turn)
        if turn.kind == IMMEDIATE:
            self._stop(turn)
        self.settle(turn.turn_id)

    def _count(self, turn: Turn) -> None:
        note_asking(
            self._connection,
            turn.turn_id,
            turn.revision,
            self._room_id,
            turn.sender,
            self._now_ms,
        )

    def _wait_for_key(self, event: Event, reading: Unreadable, pos: int) -> None:
        """What nobody allowed has said is no debt."""
        if not self._intake.listens(self._room_id, reading.sender):
            self._skip(event, "the sender may not talk", expected=True)
        elif unreadable.add(
            self._connection, self._room_id, event, reading.session_id, pos, self._now_ms
        ):
            self._result.unreadable += 1

    def settle(self, answered: TurnId) -> None:
        """Compares a turn with what stands of its answer in the room: closes it where that is
        whole, and owes the redaction of what must not stay."""
        turn = turns.get(self._connection, answered)
        events = own.of_turn(self._connection, answered)
        if turn is None or not events:
            return
        if own.is_whole(events, turn.revision):
            if self._happen(turn, AnswerSeen()) is not None:
                self._result.answered.append(turn)
            turn = turns.get(self._connection, answered) or turn
            if turn.state is TurnState.DELIVERED:
                newest = max(e.revision for e in events if e.final and not e.redacted)
                turns.answered_as(self._connection, turn, newest)
        # The first part's root is redacted only where all of the answer has to go; those of later
        # parts also where an answer came out shorter than it had begun.
        firsts = [e for e in events if e.event_id == e.root and e.part == 0]
        taken_back = turn.state is TurnState.WITHDRAWN or (
            bool(firsts) and all(e.redacted for e in firsts)
        )
        late = events if taken_back else own.outranking(events, turn.revision)
        if taken_back or turn.state is TurnState.DELIVERED:
            for event in late:
                if not event.redacted:
                    changes.owe_redaction(
                        self._connection,
                        turn,
                        event.event_id,
                        self._intake.device_id,
                        self._now_ms,
                    )
                    self._result.redactions = True

    def _own(self, seen: OwnAnswer) -> None:
        event = OwnEvent(
            event_id=seen.event_id,
            room_id=self._room_id,
            turn_id=seen.turn_id,
            part=seen.part,
            root=seen.edits or seen.event_id,
            final=seen.final,
            last=seen.last,
            revision=seen.revision,
            ts=seen.ts,
            redacted=seen.redacted,
        )
        if own.add(self._connection, event):
            self._confirm_send(event, sealed=seen.sealed)
            self.settle(seen.turn_id)

    def _confirm_send(self, event: OwnEvent, *, sealed: bool) -> None:
        """A send whose answer never came, and whose event has: it is done."""
        if event.event_id == event.root:
            txn = root_txn(event.turn_id, event.part)
            first = outbox.get(self._connection, txn)
            if first is not None and first.event_id not in (None, event.event_id):
                txn = root_txn(event.turn_id, event.part, event.revision)
        elif event.final:
            txn = final_txn(event.turn_id, event.part, event.revision)
        else:
            return  # partial edits are no rows of the outbox
        outbox.sent(self._connection, txn, event.event_id, sealed=sealed)

    def _redaction(self, redaction: Redacted, pos: int) -> None:
        ours = own.get(self._connection, redaction.target) or self._sent(redaction.target)
        if ours is not None:
            own.redacted(self._connection, redaction.target)
            turn = turns.get(self._connection, ours.turn_id)
            by_us = redaction.sender == self._intake.me
            if turn is not None and ours.event_id == ours.root and not by_us:
                self._happen(turn, AnswerRedacted())
            return
        if redaction.sender == self._intake.me:
            return
        unreadable.settled(self._connection, redaction.target, "ignored")
        turn = self._turn_of(redaction.target)
        if turn is not None:
            self._happen(turn, QuestionRedacted())
        else:
            self._never_read(redaction, pos)

    def _never_read(self, redaction: Redacted, pos: int) -> None:
        """Something was taken back that came without its text. It may be a question that was
        answered before an older copy of the state was put back: remembered as withdrawn, so that
        whatever stands of its answer, or still comes, goes as well."""
        unread = Turn(
            turn_id=turn_id(self._intake.me, self._room_id, redaction.target),
            lane=Lane(self._room_id),
            pos=pos,
            kind=QUESTION,
            state=TurnState.WITHDRAWN,
            revision=1,
            event_id=redaction.target,
            sender=redaction.sender,
            reply_thread=None,
            text="",
            quote=False,
            thread_id=None,
            run=None,
            created_ms=self._now_ms,
        )
        turns.add(self._connection, unread)
        self.settle(unread.turn_id)

    def _sent(self, event_id: EventId) -> OwnEvent | None:
        """A root that was redacted before /sync could show it: its mark is gone with its content,
        but the outbox knows what it was."""
        row = outbox.by_event(self._connection, event_id)
        if row is None or row.kind != "root":
            return None
        event = OwnEvent(
            event_id=event_id,
            room_id=self._room_id,
            turn_id=row.turn_id,
            part=row.part,
            root=event_id,
            final=False,
            last=False,
            revision=0,
            ts=0,
        )
        own.add(self._connection, event)
        return event

    def _edit(self, edit: Edited, pos: int) -> None:
        turn = self._turn_of(edit.target)
        if turn is None or turn.sender != edit.sender:
            return
        if not turn.text or not self._intake.listens(self._room_id, edit.sender):
            return  # without its text it is too old to be asked again
        again = self._intake.answers_edits
        if turn.text == edit.text or not self._intake.is_talk(edit.text):
            return
        happening = QuestionEdited(edit.text, again=again)
        if changes.foresee(turn, happening) is None:
            return
        over = self._intake.over_limit(self._sight, turn.sender, self._now_ms, live=self._live)
        if over is not None and over.limit != "queued_turns":
            self._queue(self._intake.limit_note(turn, over, pos, self._now_ms))
        elif self._happen(turn, happening) is not None:
            fresh = turns.get(self._connection, turn.turn_id)
            assert fresh is not None
            self._count(fresh)
            self._result.queued.append(fresh)

    def _stop(self, command: Turn) -> None:
        stopped = stopping.stop(self._connection, command, self._intake.device_id, self._now_ms)
        for turn, change in stopped:
            self._changed(turn, change)

    def _turn_of(self, question: EventId) -> Turn | None:
        return turns.get(self._connection, turn_id(self._intake.me, self._room_id, question))

    def _happen(self, turn: Turn, happening: Happening) -> Change | None:
        change = changes.happen(
            self._connection, turn, happening, self._intake.device_id, self._now_ms
        )
        if change is not None:
            self._changed(turn, change)
        return change

    def _changed(self, turn: Turn, change: Change) -> None:
        if change.interrupt:
            self._result.interrupted.append(turn)
        self._result.redactions |= change.redact
        self._result.debts |= change.owed is not None

    def _skip(self, event: Event, reason: str, *, expected: bool) -> None:
        self._result.skipped.append(Skip(self._room_id, event.event_id, reason, expected))

    def _settled(self, event: Event, pos: int, *, waited_only: bool = False) -> bool:
        """Remembers the event as taken; False where it was before. With `waited_only`, only where
        it had waited for a gap: what changes nothing leaves no row behind."""
        waited = self._connection.execute(
            update(inbound)
            .where(
                inbound.c.event_id == event.event_id,
                inbound.c.state.in_(("pending", unreadable.STATE)),
            )
            .values(state="taken", event="", pos=pos, at_ms=self._now_ms)
        ).rowcount
        if waited or waited_only:
            return True
        known = self._connection.execute(
            select(inbound.c.event_id).where(inbound.c.event_id == event.event_id)
        ).first()
        if known is not None:
            return False
        self._connection.execute(
            insert(inbound).values(
                event_id=event.event_id,
                room_id=self._room_id,
                pos=pos,
                state="taken",
                event="",
                at_ms=self._now_ms,
            )
        )
        return True
