"""Structured company: a coroutine that runs beside a block and never outlives it.

Unlike a task group this leaves the block's own exception as it is, so that callers can tell a
refused room from a lost database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from antiphon.clock import Clock

T = TypeVar("T")
R = TypeVar("R")


@asynccontextmanager
async def beside(coroutine: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs `coroutine` beside the block. At the block's end it is awaited, and what it raised is
    raised; when the block raises, it is cancelled first and the block's exception goes on."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # read, so that it is not reported as lost: the block's own matters
        raise
    await task


async def woken_within(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Returns when `event` is set, or after `seconds`."""
    tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@asynccontextmanager
async def while_in(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `coroutine`, which may be endless, while the block runs, then cancels it."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def each(work: Callable[[T], Awaitable[R]], items: Iterable[T], at_a_time: int) -> list[R]:
    """What `work` gives for each item, in their order, some of them at a time. The first exception
    ends it: the others are cancelled, and it is raised as it is."""
    waiting = enumerate(items)
    found: dict[int, R] = {}

    async def one() -> None:
        for index, item in waiting:
            found[index] = await work(item)

    tasks = [asyncio.ensure_future(one()) for _ in range(at_a_time)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return [found[index] for index in sorted(found)]
