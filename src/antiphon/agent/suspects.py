"""Runs that may be what kills the agent: they are resumed one at a time, so that only the one that
does it uses up its attempts (docs/decisions/0018-who-is-blamed-for-a-crash.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

from antiphon.agent.live import Interrupted, LiveRun
from antiphon.agent.store.lifecycle import MAX_ATTEMPTS

ALONE_S = 10.0
"""How long a suspect works before the next one may begin beside it."""


def is_suspect(failed_attempts: int) -> bool:
    """Whether one more crash would end the run: then it must be its own."""
    return failed_attempts == MAX_ATTEMPTS - 1


class Line:
    """The suspects of one start, in the order in which they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def alone(self, live: LiveRun) -> AsyncIterator[None]:
        """Waits until no other suspect works (or has worked for `ALONE_S`), and keeps the others
        waiting meanwhile. Raises Interrupted when the run is stopped while it waits."""
        has_it = False

        async def take() -> None:
            nonlocal has_it
            await self._lock.acquire()
            has_it = True

        def give() -> None:
            nonlocal has_it
            if has_it:
                has_it = False
                self._lock.release()

        try:
            await live.guard(take(), inf)
        except Interrupted:
            give()
            raise
        timer = asyncio.get_running_loop().call_later(ALONE_S, give)
        try:
            yield
        finally:
            timer.cancel()
            give()
