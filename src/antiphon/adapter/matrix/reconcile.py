"""Reconciliation at every start: what /sync alone does not tell, what is left to do, and for
`antiphon matrix reconcile` the wait until that is done.

The settling runs after the rooms were caught up by /sync and before any turn is worked on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import forgetting, inbound, rooms
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.owed import owed
from antiphon.adapter.matrix.report import Invite, Report
from antiphon.adapter.matrix.sync import SyncLoop
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, RateLimitedError
from antiphon.sdk.interface import Platform
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 30.0
POLL_MS = 1_000
"""How long a sync of `work_off` waits for news: as often it is looked whether all is done."""


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
        result.adopted.extend(forgetting.adopt(connection, intake.device_id, clock.now_ms()))
        adopt, close = differences(connection, joined)
        for room_id in close:
            inbound.close_room(connection, room_id, intake, clock.now_ms(), result)
        for room_id in adopt:
            # Not in any sync yet: when it comes, it counts as known, without its history.
            rooms.set_membership(connection, room_id, "join", clock.now_ms())
            result.adopted.append(room_id)
        return result

    crash_point("reconcile.before_commit")
    await committed(await journal.write(compare))
    crash_point("reconcile.committed")
    report.owed = await journal.read(owed)
    report.invites = [
        Invite(
            room_id,
            inviter or None,
            bool(inviter) and intake.may_lead(UserId(inviter or ""), room_id),
        )
        for room_id, inviter in await journal.read(lambda c: rooms.with_membership(c, "invite"))
    ]


def differences(
    connection: Connection, joined: frozenset[RoomId]
) -> tuple[list[RoomId], list[RoomId]]:
    """The rooms to adopt and those to close, as the journal differs from `joined`."""
    known = {room_id for room_id, _ in rooms.with_membership(connection, "join")}
    adopt = [
        room_id
        for room_id in sorted(joined - known)
        # Those that we are about to join are told of by /sync.
        if rooms.membership(connection, room_id) not in ("invite", "joining")
    ]
    return adopt, sorted(known - joined)


async def work_off(
    sync: SyncLoop,
    journal: Journal,
    platform: Platform,
    report: Report,
    within_s: float,
) -> None:
    """Syncs until nothing is owed any more and the rooms show nothing new, at most `within_s`
    seconds; the adapter's workers are at it meanwhile. What waits for an agent that can't be
    reached is not waited for. `report` is told why something is left."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                # In this order: what the sync brings is newer than what was seen to be done.
                done = await _is_done(journal, platform, report)
                if await sync.step(0 if done else POLL_MS) and done:
                    break
    except TimeoutError:
        report.waits.append(f"not finished within {within_s:g} s")


async def _is_done(journal: Journal, platform: Platform, report: Report) -> bool:
    """Whether nothing is left, or only what waits for an agent that can't be reached."""
    left = await journal.read(owed)
    report.waits = []
    if left.nothing:
        return True
    if left.for_others:
        return False
    health = await platform.check()
    if health.ok:
        return False
    report.waits = [health.detail]
    return True


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
