"""Structured company: a coroutine that runs beside a block and never outlives it.

Unlike a task group this leaves the block's own exception as it is, so that callers can tell a
refused room from a lost database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


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
