"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Implements `antiphon.clock.Clock`. `advance` moves both clocks and wakes who slept."""

    def __init__(self, now_ms: int = 1_700_000_000_000):
        self._wall = now_ms
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    def now_ms(self) -> int:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        event = asyncio.Event()
        until = self._monotonic + seconds
        heapq.heappush(self._sleepers, (until, next(self._numbers), event))
        await event.wait()

    @property
    def sleeping(self) -> int:
        """How many sleeps have not ended."""
        return len(self._sleepers)

    def step_wall(self, milliseconds: int) -> None:
        """Moves the wall clock alone, back too, as clocks do when they are set."""
        self._wall += milliseconds

    async def advance(self, seconds: float) -> None:
        """Moves time on; those whose sleep ends run, in order, before this returns."""
        end = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            until, _, event = heapq.heappop(self._sleepers)
            self._wall += round((until - self._monotonic) * 1000)
            self._monotonic = until
            event.set()
            await settle()
        self._wall += round((end - self._monotonic) * 1000)
        self._monotonic = end
        await settle()


async def settle(rounds: int = 50) -> None:
    """Lets tasks that are ready run until they wait for something."""
    for _ in range(rounds):
        await asyncio.sleep(0)
