"""Hands what was journalled to those who work on it, in order. Before the rooms are caught up,
nothing is worked on: what was said meanwhile, by us too, must be known first."""

from __future__ import annotations

from typing import Protocol

from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.turns import IMMEDIATE
from antiphon.adapter.matrix.lanes import Lanes
from antiphon.adapter.matrix.report import Report


class Worker(Protocol):
    """Works off what the journal holds for it."""

    def wake(self) -> None:
        """There may be something new."""
        ...


class Dispatch:
    """Told of every committed batch and closed gap."""

    def __init__(
        self,
        lanes: Lanes,
        *,
        stopper: Worker,
        debtor: Worker,
        redactor: Worker,
        arrivals: Worker,
        late_keys: Worker,
        report: Report,
    ):
        self._lanes = lanes
        self._stopper = stopper
        self._debtor = debtor
        self._redactor = redactor
        self._arrivals = arrivals
        self._late_keys = late_keys
        self._report = report
        self._open = False

    async def open(self) -> None:
        """The rooms are caught up: everything that is owed is worked on from now on."""
        self._open = True
        await self._lanes.wake_all()
        for worker in (
            self._stopper,
            self._debtor,
            self._redactor,
            self._arrivals,
            self._late_keys,
        ):
            worker.wake()

    async def committed(self, result: Committed) -> None:
        """Something was journalled."""
        if not self._open:
            self._report.add(result)
            return
        for room_id in result.closed:
            await self._lanes.drop(room_id)
        for turn in result.interrupted:
            await self._lanes.interrupt(turn)
        if result.closed or result.debts:
            self._debtor.wake()
        if result.redactions:
            self._redactor.wake()
        if result.unreadable:
            self._late_keys.wake()
        if result.invited or result.gaps or result.upgraded or result.adopted:
            self._arrivals.wake()
        for turn in result.queued:
            if turn.kind == IMMEDIATE:
                self._stopper.wake()
            else:
                self._lanes.wake(turn.lane)
        for room_id in result.caught_up:
            await self._lanes.wake_room(room_id)
