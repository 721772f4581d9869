"""Invites and gaps: what must be asked of the homeserver before a room can be answered in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.digest import arrival_index, stay_start, unique
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import inbound, rooms
from antiphon.adapter.matrix.journal.inbound import Committed, Gap
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.rules_watch import RulesWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.upgrades import Upgrades
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 60.0
PAGE = 100
MOST_PAGES = 200
"""Most of a gap that is read back: 20,000 events; older ones are given up with an error line."""


class Arrivals:
    """Decides invites and reads gaps back, in the background, until none is left."""

    def __init__(
        self,
        me: UserId,
        client: MatrixClient,
        journal: Journal,
        intake: Intake,
        watch: RulesWatch,
        clock: Clock,
        upgrades: Upgrades,
        cipher: Cipher,
    ):
        self._me = me
        self._client = client
        self._journal = journal
        self._intake = intake
        self._watch = watch
        self._clock = clock
        self._upgrades = upgrades
        self._cipher = cipher
        self._due = asyncio.Event()
        self._due.set()  # what an earlier life left
        self._log = logger("matrix.rooms")

    def wake(self) -> None:
        """There is a new invite or gap in the journal."""
        self._due.set()

    async def run(
        self,
        committed: Callable[[Committed], Awaitable[None]],
        released: Callable[[RoomId], Awaitable[None]],
    ) -> None:
        """Works for ever; ends by cancellation. `committed` is told what a closed gap brought,
        `released` of a room whose lanes were held back for an upgrade.

        Raises TokenRevokedError and database errors."""
        pause = 1.0
        while True:
            await self._due.wait()
            self._due.clear()
            wait_s = await self._all(committed, released)
            if wait_s is None:
                pause = 1.0
                continue
            await woken_within(self._due, max(wait_s, pause), self._clock)
            pause = min(LONGEST_PAUSE_S, pause * 2)
            self._due.set()

    async def _all(
        self,
        committed: Callable[[Committed], Awaitable[None]],
        released: Callable[[RoomId], Awaitable[None]],
    ) -> float | None:
        """Tries everything once, each room by itself; seconds to wait before trying again what is
        left, None if all is done."""
        waits: list[float] = []
        for gap in await self._journal.read(inbound.open_gaps):
            waits.extend(await self._tried(self._close(gap, committed)))
        for room_id, inviter in await self._journal.read(
            lambda c: rooms.with_membership(c, "invite")
        ):
            waits.extend(await self._tried(self._decide(room_id, inviter)))
        for upgrade in await self._journal.read(rooms.open_upgrades):
            waits.extend(await self._tried(self._follow(upgrade, released)))
        return max(waits, default=None)

    async def _tried(self, work: Coroutine[Any, Any, None]) -> list[float]:
        """Does one room's work; the seconds to wait where it must be tried again."""
        try:
            await work
        except RateLimitedError as error:
            return [error.retry_after_ms / 1000]
        except HomeserverUnreachableError as error:
            self._log.warning("room_work_postponed", error=error.message)
            return [1.0]
        return []

    async def _decide(self, room_id: RoomId, inviter: str | None) -> None:
        """Joins or declines. What /sync tells meanwhile is never overwritten: the room is joined
        for us when /sync says so, so that what was said since the invite is seen."""
        await self._watch.look([(room_id, UserId(inviter or ""))])
        refusal = self._refusal(room_id, inviter)
        try:
            if refusal is None:
                await self._client.join(room_id)
                crash_point("invite.joined")
                self._log.info("joined", room=room_id, inviter=inviter)
                await self._settle(room_id, "joining")
                return
            await self._client.leave(room_id, refusal)
            self._log.warning(
                "invite_declined",
                room=room_id,
                inviter=inviter,
                reason=refusal,
                hint="[matrix] allow, invite and rooms say who may invite the bot, and where to",
            )
        except MatrixApiError as error:
            self._log.warning(
                "invite_dead", room=room_id, status=error.status, errcode=error.errcode
            )
        await self._settle(room_id, "leave")

    def _refusal(self, room_id: RoomId, inviter: str | None) -> str | None:
        """Why an invitation is not taken, for who invited; None: it is taken."""
        if inviter is None or not self._intake.policy.access.may_invite(inviter):
            return "I may not be invited by you: somebody who runs this bot has to allow it first."
        if not self._intake.policy.may_enter(room_id):
            return "I may not enter this room: somebody who runs this bot has to allow it first."
        return None

    async def _settle(self, room_id: RoomId, membership: str) -> None:
        """The invite was decided: unless /sync has told more meanwhile."""

        def settle(connection: Connection) -> None:
            if rooms.membership(connection, room_id) == "invite":
                rooms.set_membership(connection, room_id, membership, self._clock.now_ms())

        await self._journal.write(settle)

    async def _follow(
        self, upgrade: rooms.Upgrade, released: Callable[[RoomId], Awaitable[None]]
    ) -> None:
        await self._watch.look([(upgrade.successor, UserId(""))])
        if not self._intake.policy.may_enter(upgrade.successor):
            await self._journal.write(lambda c: rooms.set_followed(c, upgrade.room_id, "refused"))
            self._log.warning("upgrade_refused", room=upgrade.room_id, names=upgrade.successor)
            await released(upgrade.successor)
        elif await self._upgrades.follow(upgrade):
            await released(upgrade.successor)

    async def _close(self, gap: Gap, committed: Callable[[Committed], Awaitable[None]]) -> None:
        found = await self._cipher.readable(gap.room_id, await self._read_back(gap))
        await self._watch.look((gap.room_id, UserId(event.sender)) for event in found)
        crash_point("gap.read")
        result = await self._journal.write(
            lambda c: inbound.close_gap(c, gap, found, self._intake, self._clock.now_ms())
        )
        crash_point("gap.closed")
        self._log.info("gap_closed", room=gap.room_id, events=len(found))
        await committed(result)

    async def _read_back(self, gap: Gap) -> list[Event]:
        """The events of a gap, oldest first, back to its end or to our arrival in the room."""
        newest_first: list[Event] = []
        token: str | None = gap.from_token
        pages = 0
        while token is not None and pages < MOST_PAGES:
            pages += 1
            try:
                page = await self._client.messages(
                    gap.room_id, from_token=token, to_token=gap.to_token, limit=PAGE
                )
            except MatrixApiError as error:
                self._log.error(
                    "gap_unreadable", room=gap.room_id, status=error.status, code=error.errcode
                )
                break
            for problem in page.problems:
                self._log.warning("malformed_event", room=gap.room_id, reason=problem.reason)
            ids = [event.event_id for event in page.events]
            ended = gap.until_event is not None and gap.until_event in ids
            newest_first.extend(takewhile(lambda e: e.event_id != gap.until_event, page.events))
            start = stay_start(unique(newest_first[::-1]), self._me)
            if start is not None or ended:
                return list(unique(newest_first[::-1])[start or 0 :])
            token = page.end if page.end != token else None
        if pages == MOST_PAGES:
            self._log.error("gap_given_up", room=gap.room_id, events=len(newest_first))
        found = unique(newest_first[::-1])
        return list(found[arrival_index(found, self._me) or 0 :])
