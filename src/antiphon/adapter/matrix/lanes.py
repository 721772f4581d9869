"""Lanes: one turn at a time per chat, in order; chats side by side."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from antiphon.adapter.matrix.journal import turns
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.turns import QUESTION, Lane, Turn
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.run_slots import RunSlots
from antiphon.adapter.matrix.runner import TurnRunner
from antiphon.core.ids import RoomId, TurnId
from antiphon.core.model import TurnState


class Lanes:
    """Runs each lane that has open turns in a task of its own, inside `group`. The journal says
    what there is to do; memory only says which lanes are being looked after."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        journal: Journal,
        runner: TurnRunner,
        metrics: Metrics,
        slots: RunSlots,
    ):
        self._group = group
        self._journal = journal
        self._runner = runner
        self._metrics = metrics
        self._slots = slots
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._working: dict[Lane, TurnId] = {}
        self._again: set[Lane] = set()

    async def wake_all(self) -> None:
        """Looks after every lane in which something is owed."""
        for lane in await self._journal.read(turns.open_lanes):
            self.wake(lane)

    def wake(self, lane: Lane) -> None:
        """There may be an open turn in `lane`."""
        if lane in self._tasks:
            self._again.add(lane)
        else:
            self._tasks[lane] = self._group.create_task(self._work(lane))

    async def wake_room(self, room_id: RoomId) -> None:
        """What held the room's lanes back may be over."""
        for lane in await self._journal.read(lambda c: turns.open_lanes(c, room_id)):
            self.wake(lane)

    async def interrupt(self, turn: Turn) -> None:
        """The turn was decided elsewhere: whoever works on it lets go; its lane goes on."""
        task = self._tasks.get(turn.lane)
        if task is not None and self._working.get(turn.lane) == turn.turn_id:
            task.cancel()
            await asyncio.wait([task])
        self.wake(turn.lane)

    @property
    def idle(self) -> bool:
        """Whether no lane is being looked after."""
        return not self._tasks

    async def drop(self, room_id: RoomId) -> None:
        """Stops working in a room that we are no longer in; its turns have ended already."""
        dropped = [task for lane, task in self._tasks.items() if lane.room_id == room_id]
        for task in dropped:
            task.cancel()
        if dropped:
            await asyncio.wait(dropped)

    async def _work(self, lane: Lane) -> None:
        self._metrics.lanes.inc()
        try:
            while True:
                self._again.discard(lane)
                turn = await self._journal.read(lambda c: turns.next_open(c, lane))
                if turn is not None:
                    self._working[lane] = turn.turn_id
                    asks = turn.kind == QUESTION and turn.state is not TurnState.ANSWERED
                    async with self._slots.slot(lane, turn.sender) if asks else nullcontext():
                        await self._runner.run(turn)
                elif lane not in self._again:
                    return
        finally:
            del self._tasks[lane]
            self._working.pop(lane, None)
            self._metrics.lanes.dec()
            if lane in self._again and not self._cancelled():
                self.wake(lane)

    @staticmethod
    def _cancelled() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
