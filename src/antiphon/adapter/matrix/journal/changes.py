"""What a happening makes of a turn, carried out in one transaction: the decision is `core.turns`',
the facts and their change are the journal's."""

from __future__ import annotations

from sqlalchemy import Connection, update

from antiphon.adapter.matrix.journal import debts, outbox, own
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.schema import turn as table
from antiphon.adapter.matrix.journal.turns import QUESTION, Turn
from antiphon.core.ids import EventId, redact_txn, run_id
from antiphon.core.model import OPEN_STATES
from antiphon.core.turns import Change, Facts, Happening, decide


def happen(
    connection: Connection, turn: Turn, happening: Happening, device_id: str, now_ms: int
) -> Change | None:
    """Applies `happening` to a turn as it stands in this transaction; what was changed, or None."""
    change = foresee(turn, happening)
    if change is None:
        return None
    values: dict[str, object] = {"state": str(change.state)}
    if change.text is not None:
        values |= {
            "text": change.text,
            "revision": turn.revision + 1,
            "run": None,
            "thread_id": None,
            "outcome": None,
            "error_code": None,
            "ended_ms": None,
        }
    elif change.state not in OPEN_STATES:
        values["ended_ms"] = now_ms
    moved = connection.execute(
        update(table)
        .where(table.c.turn_id == turn.turn_id, table.c.state == str(turn.state))
        .values(**values)
    )
    if moved.rowcount != 1:
        return None
    if change.owed is not None and turn.thread_id is not None:
        owed = Debt(change.owed, turn.thread_id, run_id(turn.turn_id, turn.revision))
        debts.add(connection, owed, now_ms)
    if change.void:
        # A root may be in the room already: the next revision edits it, so it stays owed.
        outbox.void(connection, turn.turn_id, keep_roots=change.text is not None)
    if change.redact:
        for event in own.of_turn(connection, turn.turn_id):
            if not event.redacted:
                owe_redaction(connection, turn, event.event_id, device_id, now_ms)
    return change


def foresee(turn: Turn, happening: Happening) -> Change | None:
    """What `happening` would make of the turn."""
    # The thread outlives the frozen run, which goes with the text of what is long over.
    facts = Facts(turn.state, turn.kind == QUESTION, asked=turn.thread_id is not None)
    return decide(facts, happening)


def owe_redaction(
    connection: Connection, turn: Turn, event_id: EventId, device_id: str, now_ms: int
) -> None:
    """One of the answer's events must not stay readable."""
    entry = Entry(
        txn_id=redact_txn(turn.turn_id, event_id),
        turn_id=turn.turn_id,
        room_id=turn.lane.room_id,
        part=0,
        kind="redact",
        content=event_id,
        device_id=device_id,
    )
    outbox.put(connection, entry, now_ms)
