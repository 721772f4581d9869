"""`!stop`: its reply goes out at once, ahead of what waits in its lane. What it ends was decided
when it was journalled (`journal.stopping`)."""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection

from antiphon.adapter.matrix.debts import Debtor
from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.journal import outbox, rooms, stopping, turns
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.clock import Clock
from antiphon.core.model import TurnState
from antiphon.core.pacing import SendClass
from antiphon.crash import crash_point


class Stopper:
    """Answers immediate commands, one after the other."""

    def __init__(self, journal: Journal, delivery: Delivery, debtor: Debtor, clock: Clock):
        self._journal = journal
        self._delivery = delivery
        self._debtor = debtor
        self._clock = clock
        self._due = asyncio.Event()
        self._due.set()  # commands of an earlier life

    def wake(self) -> None:
        """There is an immediate command in the journal."""
        self._due.set()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        while True:
            await self._due.wait()
            self._due.clear()
            for turn in await self._journal.read(turns.open_immediate):
                await self._stop(turn)

    async def _stop(self, turn: Turn) -> None:
        crash_point("stop.before_decided")
        await self._journal.write(lambda c: self._decide(c, turn))
        crash_point("stop.decided")
        self._debtor.wake()
        try:
            for entry in await self._journal.read(lambda c: outbox.of_turn(c, turn.turn_id)):
                if entry.state == "pending":
                    await self._delivery.deliver(entry, SendClass.FINAL)
        except RoomRefusedError:
            end = TurnState.UNDELIVERABLE
        else:
            end = TurnState.DELIVERED
        await self._journal.write(lambda c: self._end(c, turn, end))

    def _end(self, connection: Connection, turn: Turn, end: TurnState) -> None:
        now = self._clock.now_ms()
        turns.end(connection, turn, end, now, expected=(TurnState.ANSWERED,))
        outbox.void(connection, turn.turn_id)  # what is still pending was refused

    def _decide(self, connection: Connection, turn: Turn) -> None:
        """The room may have been left or encrypted since the command was journalled. (One that
        is not decided yet was journalled by a version that did it here.)"""
        now = self._clock.now_ms()
        if not rooms.may_send(connection, turn.lane.room_id, sealed=self._delivery.seals):
            turns.end(connection, turn, TurnState.UNDELIVERABLE, now)
            outbox.void(connection, turn.turn_id)
            return
        stopping.stop(connection, turn, self._journal.device_id, now)
