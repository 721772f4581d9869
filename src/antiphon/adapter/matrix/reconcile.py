"""Reconciliation at every start: what /sync alone does not tell, and what is left to do.

It runs after the rooms were caught up by /sync and before any turn is worked on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import debts, inbound, outbox, rooms, turns
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverUnreachableError, RateLimitedError
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 30.0


async def settle(
    client: MatrixClient,
    journal: Journal,
    intake: Intake,
    clock: Clock,
    report: Report,
    committed: Callable[[Committed], Awaitable[None]],
) -> None:
    """Compares the journal's rooms with the homeserver's own list, and completes `report`."""
    joined = await _joined_rooms(client, clock)

    def compare(connection: Connection) -> Committed:
        result = Committed()
        for room_id, _ in rooms.with_membership(connection, "join"):
            if room_id not in joined:
                inbound.close_room(connection, room_id, intake, clock.now_ms(), result)
        known = {room_id for room_id, _ in rooms.with_membership(connection, "join")}
        for room_id in sorted(joined - known):
            # Not in any sync yet: when it comes, it counts as known, without its history.
            if rooms.membership(connection, room_id) not in ("invite", "joining"):
                rooms.set_membership(connection, room_id, "join", clock.now_ms())
                result.adopted.append(room_id)
        return result

    await committed(await journal.write(compare))
    await journal.read(lambda c: complete(c, report))


def complete(connection: Connection, report: Report) -> None:
    """Fills in what is left to do, as the journal has it."""
    report.invited = [room_id for room_id, _ in rooms.with_membership(connection, "invite")]
    report.gaps = sorted({gap.room_id for gap in inbound.open_gaps(connection)})
    report.unfinished_turns = turns.count_open(connection)
    report.unconfirmed_sends, _ = outbox.backlog(connection)
    report.owed_to_agent = len(debts.pending(connection))


def summary(report: Report) -> dict[str, Any]:
    """The report as fields of a log line: counts only."""
    return {
        name: len(value) if isinstance(value, list) else value
        for name in report.__struct_fields__
        if (value := getattr(report, name))
    }


async def _joined_rooms(client: MatrixClient, clock: Clock) -> frozenset[RoomId]:
    pause = 0.5
    while True:
        try:
            return frozenset(RoomId(room_id) for room_id in await client.joined_rooms())
        except RateLimitedError as error:
            await clock.sleep(error.retry_after_ms / 1000)
        except HomeserverUnreachableError as error:
            logger("matrix.reconcile").warning("homeserver_away", error=error.message)
            await clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 2)
