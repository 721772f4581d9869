"""Tells what runs used to whoever counts it, however long they are away."""

from __future__ import annotations

import asyncio
from functools import partial

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.journal import usage
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.policy import Policy
from antiphon.clock import Clock
from antiphon.crash import crash_point
from antiphon.errors import PlatformError
from antiphon.sdk.interface import Platform
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 60.0
AT_ONCE = 100


class UsageClerk:
    """Works off what the journal owes. Told twice, a run is counted once."""

    def __init__(self, platform: Platform, journal: Journal, policy: Policy, clock: Clock):
        self._platform = platform
        self._policy = policy
        self._journal = journal
        self._clock = clock
        self._due = asyncio.Event()
        self._due.set()  # what an earlier life left
        self._log = logger("matrix.usage")

    def wake(self) -> None:
        """There is something new in the journal."""
        self._due.set()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        pause = 1.0
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.flush()
            except PlatformError as error:
                self._log.warning("usage_not_counted", error=error.message, again_in_s=pause)
                await woken_within(self._due, pause, self._clock)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._due.set()
            else:
                pause = 1.0

    async def flush(self) -> None:
        """Tells all that is owed. Raises PlatformError; what was not taken stays owed."""
        while entries := await self._journal.read(lambda c: usage.owed(c, AT_ONCE)):
            await self._platform.record_usage(entries)
            crash_point("usage.told")
            for entry in entries:  # before they leave the journal: never counted less than it is
                self._policy.used(entry)
            await self._journal.write(partial(usage.counted, entries=entries))
            crash_point("usage.counted")
