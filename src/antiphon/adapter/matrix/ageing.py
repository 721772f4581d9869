"""Takes out of the journal what is long over, in small steps beside everything else."""

from __future__ import annotations

from functools import partial

from antiphon.adapter.matrix.journal import ageing
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.clock import Clock
from antiphon.crash import crash_point
from antiphon.telemetry import logger

DAY_MS = 24 * 3600 * 1000
EVERY_S = 6 * 3600.0
PAUSE_S = 0.2
"""Between two steps: others want to write too."""


class Ageing:
    """Keeps what ended within `keep_days` (0: everything for ever)."""

    def __init__(self, journal: Journal, clock: Clock, keep_days: int):
        self._journal = journal
        self._clock = clock
        self._keep_ms = keep_days * DAY_MS
        self._log = logger("matrix.ageing")

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        while self._keep_ms:
            rows = await self.once()
            if rows:
                self._log.info("aged", rows=rows)
            await self._clock.sleep(EVERY_S)

    async def once(self) -> int:
        """Takes out all that is too old now; how many rows."""
        before, rows = self._clock.now_ms() - self._keep_ms, 0
        # Ids stay twice as long: what an old event could change is without its text by then.
        step = partial(ageing.age, before_ms=before, ids_before_ms=before - self._keep_ms)
        while taken := await self._journal.write(step):
            crash_point("ageing.stepped")
            rows += taken
            await self._clock.sleep(PAUSE_S)
        return rows
