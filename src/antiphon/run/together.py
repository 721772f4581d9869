"""Several children as one thing: they run side by side, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from antiphon.run.child import Child


async def run_together(
    children: Sequence[Child], *, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Runs all until `stop` is set; `on_ready` is called once, when each has been ready.

    When one gives up (ChildEndedError, in an exception group), the others are ended first."""
    async with asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(child.run(stop), name=child.spec.name)
        announcer = group.create_task(_announce(children, on_ready), name="announce")
        await stop.wait()
        announcer.cancel()


async def _announce(children: Sequence[Child], on_ready: Callable[[], None]) -> None:
    for child in children:
        await child.ready.wait()
    on_ready()
