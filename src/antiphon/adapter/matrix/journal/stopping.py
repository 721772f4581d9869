"""`!stop`, decided where it stands in its room: what was asked before it ends, what comes after it
goes on, however late it is read.

Runs inside the transaction that journals the command, and only once.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.contents import Address, opening
from antiphon.adapter.matrix.journal import changes, outbox, turns
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.adapter.matrix.marks import Mark
from antiphon.core.commands.replies import nothing_running_reply, stopped_reply
from antiphon.core.ids import root_txn
from antiphon.core.model import TurnState
from antiphon.core.turns import Change, Stopped


def stop(
    connection: Connection, command: Turn, device_id: str, now_ms: int
) -> list[tuple[Turn, Change]]:
    """Ends what waits before the command, owes the agent the end of what runs, and fixes the
    reply; what it changed. Nothing where the command was decided before."""
    if not turns.answer(connection, command, "success", None, expected=(TurnState.QUEUED,)):
        return []
    changed = []
    for other in turns.open_in_lane(connection, command.lane, command.pos):
        change = changes.happen(connection, other, Stopped(), device_id, now_ms)
        if change is not None:
            changed.append((other, change))
    text = stopped_reply(len(changed)) if changed else nothing_running_reply()
    mark = Mark(command.turn_id, 0, final=True, last=True)
    content = opening(text, Address(command.event_id, command.reply_thread), mark, notice=True)
    reply = Entry(
        txn_id=root_txn(command.turn_id, 0),
        turn_id=command.turn_id,
        room_id=command.lane.room_id,
        part=0,
        kind="root",
        content=msgspec.json.encode(content).decode(),
        device_id=device_id,
    )
    outbox.put(connection, reply, now_ms)
    return changed
