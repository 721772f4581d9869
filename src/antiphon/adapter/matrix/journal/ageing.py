"""What becomes of what is long over: texts go, ids stay as long as something could bring their
event again (docs/decisions/0030-retention.md)."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, or_, select, update

from antiphon.adapter.matrix.journal.schema import inbound, outbox, own_event
from antiphon.adapter.matrix.journal.schema import turn as turns
from antiphon.adapter.matrix.journal.turns import OPEN

AT_ONCE = 500
"""Most rows of a kind in one transaction, so that nobody waits long for it."""


def age(connection: Connection, before_ms: int, ids_before_ms: int) -> int:
    """One step of taking out what ended before that, and ids of events from before the earlier
    `ids_before_ms`; how many rows it was, 0: nothing is left.

    Of turns the texts and frozen runs go; a turn without its text is too old to be asked again. A
    turn's sends go once all of them are done, and events that were redacted or that we know to be
    taken in. What still stands of an answer in a room stays known, so that it can be redacted."""
    over = and_(turns.c.state.not_in(OPEN), turns.c.ended_ms < before_ms)
    kept = or_(turns.c.text != "", turns.c.run.is_not(None))
    old = select(turns.c.turn_id).where(over)
    blanked = _some(connection, turns, turns.c.turn_id, and_(over, kept))
    if blanked:
        connection.execute(
            update(turns).where(turns.c.turn_id.in_(blanked)).values(text="", run=None)
        )
    waits = exists().where(outbox.c.turn_id == turns.c.turn_id, outbox.c.state == "pending")
    done = and_(
        outbox.c.state != "pending",
        outbox.c.turn_id.in_(old.where(~waits)),
    )
    sends = _drop(connection, outbox, outbox.c.txn_id, done)
    gone = and_(own_event.c.redacted, own_event.c.turn_id.in_(old))
    events = _drop(connection, own_event, own_event.c.event_id, gone)
    settled = and_(inbound.c.state.in_(("taken", "ignored")), inbound.c.at_ms < ids_before_ms)
    return len(blanked) + sends + events + _drop(connection, inbound, inbound.c.event_id, settled)


def _some(
    connection: Connection, table: Table, key: ColumnElement[str], which: ColumnElement[bool]
) -> list[str]:
    return list(connection.execute(select(key).where(which).limit(AT_ONCE)).scalars())


def _drop(
    connection: Connection, table: Table, key: ColumnElement[str], which: ColumnElement[bool]
) -> int:
    found = _some(connection, table, key, which)
    if found:
        connection.execute(delete(table).where(key.in_(found)))
    return len(found)
