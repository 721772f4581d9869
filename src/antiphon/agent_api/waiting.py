"""Waiting with a bound, by the clock port."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from antiphon.clock import Clock

T = TypeVar("T")


class Patience:
    """One bound over many waits: `wait` raises TimeoutError when `seconds` have passed since the
    last `touch`. It keeps one timer, so that a wait on a busy stream costs little; `close` it."""

    def __init__(self, clock: Clock, seconds: float):
        self._clock = clock
        self._seconds = seconds
        self._since = clock.monotonic()
        self._timer: asyncio.Future[None] | None = None

    def touch(self) -> None:
        """There was a sign: the time begins again."""
        self._since = self._clock.monotonic()

    async def wait(self, future: asyncio.Future[T]) -> T:
        """The result of `future`, which is left alone when the time is over."""
        while not future.done():
            if self._timer is None or self._timer.done():
                left = self._since + self._seconds - self._clock.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._timer = asyncio.ensure_future(self._clock.sleep(left))
            either: set[asyncio.Future[Any]] = {future, self._timer}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return future.result()

    async def pause(self, seconds: float) -> None:
        """Waits `seconds`, or raises TimeoutError when the patience ends before."""
        left = self._since + self._seconds - self._clock.monotonic()
        await self._clock.sleep(min(seconds, max(0.0, left)))
        if seconds > left:
            raise TimeoutError

    async def close(self) -> None:
        """Ends the timer; idempotent."""
        await _end(self._timer)
        self._timer = None


async def within(clock: Clock, seconds: float, future: asyncio.Future[T]) -> T:
    """The result of `future`; after `seconds` TimeoutError, and `future` is left alone."""
    patience = Patience(clock, seconds)
    try:
        return await patience.wait(future)
    finally:
        await patience.close()


async def _end(task: asyncio.Future[Any] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task})
