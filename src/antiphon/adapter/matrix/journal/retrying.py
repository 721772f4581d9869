"""`!retry`: a person's last question in a chat becomes another revision of its turn, answered in
the same message."""

from __future__ import annotations

from sqlalchemy import Connection, select

from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import changes, own, turns
from antiphon.adapter.matrix.journal.schema import turn as table
from antiphon.adapter.matrix.journal.sight import Sight, note_asking
from antiphon.adapter.matrix.journal.taking import Taken
from antiphon.adapter.matrix.journal.turns import QUESTION, Turn, as_turn, in_lane
from antiphon.core.turns import AskedAgain


def retry(connection: Connection, command: Turn, intake: Intake, now_ms: int) -> tuple[Taken, str]:
    """Asks it again: the turn is queued then. Otherwise why not, empty where there is none."""
    result = Taken()
    last = _last_question(connection, command)
    if last is None or not last.text or _is_taken_down(connection, last):
        return result, ""
    happening = AskedAgain(last.text)
    if changes.foresee(last, happening) is None:
        return result, ""
    over = intake.over_limit(Sight(connection, last.lane.room_id), last.sender, now_ms)
    if over is not None:
        return result, over.sentence
    change = changes.happen(connection, last, happening, intake.device_id, now_ms)
    fresh = turns.get(connection, last.turn_id)
    if change is not None and fresh is not None:
        result.debts = change.owed is not None
        result.queued.append(fresh)
        room_id, revision = fresh.lane.room_id, fresh.revision
        note_asking(connection, fresh.turn_id, revision, room_id, fresh.sender, now_ms)
    return result, ""


def _last_question(connection: Connection, command: Turn) -> Turn | None:
    row = connection.execute(
        select(table)
        .where(
            in_lane(command.lane),
            table.c.kind == QUESTION,
            table.c.sender == command.sender,
            table.c.pos < command.pos,
            table.c.state.not_in(("withdrawn", "undeliverable")),
        )
        .order_by(table.c.pos.desc())
        .limit(1)
    ).first()
    return None if row is None else as_turn(row)


def _is_taken_down(connection: Connection, turn: Turn) -> bool:
    """Whether somebody has redacted what opened its answer: it does not come back by this."""
    events = own.of_turn(connection, turn.turn_id)
    return any(e.redacted and e.part == 0 and e.event_id == e.root for e in events)
