"""The gate that every send of this process goes through: the budget of `core.pacing` with waiting.

Sends wait in order of their class, finals first; within a class in order of arrival.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager

from antiphon.clock import Clock
from antiphon.core.pacing import Budget, SendClass

MOST_AT_ONCE = 16
"""Requests under way at once; a homeserver works on one at a time anyway (measured)."""


class Slot:
    """Permission for one send; say how it ended, else it counts as failed."""

    def __init__(self, budget: Budget, kind: SendClass, clock: Clock):
        self._budget = budget
        self._kind = kind
        self._clock = clock
        self.told = False

    def succeeded(self) -> None:
        """The homeserver took it."""
        self.told = True
        self._budget.succeeded(self._kind, self._clock.monotonic())

    def limited(self, retry_after_ms: int) -> None:
        """The homeserver answered 429."""
        self.told = True
        self._budget.limited(self._kind, self._clock.monotonic(), retry_after_ms)

    def unused(self) -> None:
        """Nothing was sent: whoever held it finds out that something is to be done before."""
        self.told = True
        self._budget.unused(self._kind)

    def failed(self) -> None:
        """It ended otherwise."""
        self.told = True
        self._budget.failed(self._kind, self._clock.monotonic())


class SendGate:
    """One per process."""

    def __init__(self, clock: Clock, budget: Budget | None = None):
        self._clock = clock
        self._budget = budget or Budget()
        self._waiting: list[tuple[int, int]] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def slot(self, kind: SendClass) -> AsyncIterator[Slot]:
        """Waits until a send of this class may go, and holds its place while the body sends."""
        await self._enter(kind)
        slot = Slot(self._budget, kind, self._clock)
        try:
            yield slot
        finally:
            if not slot.told:
                slot.failed()
            self._under_way -= 1
            self._wake()

    @contextmanager
    def owing(self) -> Iterator[None]:
        """An answer is in progress while the body runs: its final will need a place."""
        self._budget.owed += 1
        try:
            yield
        finally:
            self._budget.owed -= 1

    def may_send_partial(self) -> bool:
        """Whether a partial edit may go now; if not, it is dropped, since a newer one comes."""
        if self._waiting or self._under_way >= MOST_AT_ONCE:
            return False
        return self._budget.may_send(SendClass.PARTIAL, self._clock.monotonic())

    async def room_for_first(self, given_up: Awaitable[object]) -> bool:
        """Waits until first words may go; False when `given_up` returns before that (the whole
        answer is there: its final takes their place)."""
        if self._budget.may_send(SendClass.FIRST, self._clock.monotonic()):
            if asyncio.iscoroutine(given_up):
                given_up.close()
            return True
        over = asyncio.ensure_future(given_up)
        try:
            while not over.done():
                pause = self._budget.wait(SendClass.FIRST, self._clock.monotonic())
                if pause <= 0:
                    return True
                await self._pause(pause, over)
            return False
        finally:
            over.cancel()
            await asyncio.wait([over])

    async def _enter(self, kind: SendClass) -> None:
        ticket = (-int(kind), next(self._numbers))
        heapq.heappush(self._waiting, ticket)
        try:
            while True:
                now = self._clock.monotonic()
                if self._waiting[0] == ticket and self._under_way < MOST_AT_ONCE:
                    pause: float | None = self._budget.wait(kind, now)
                    if not pause:
                        self._budget.started(kind, now)
                        self._under_way += 1
                        return
                else:
                    pause = None
                await self._pause(pause)
        finally:
            self._waiting.remove(ticket)
            heapq.heapify(self._waiting)
            self._wake()

    def _wake(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _pause(
        self, seconds: float | None, over: asyncio.Future[object] | None = None
    ) -> None:
        """Returns when something changed, after `seconds`, or when `over` is done."""
        tasks: list[asyncio.Future[object]] = [asyncio.ensure_future(self._changed.wait())]
        if seconds is not None:
            tasks.append(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(
                [*tasks, over] if over is not None else tasks,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
