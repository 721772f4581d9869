"""How a running run's events become durable and visible: seq numbers, group commits, publishing.

Deltas are published at once and committed in groups; all else is committed, fenced by attempt,
before it is published. One recorder serves one attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from antiphon.agent.log import ThreadLog
from antiphon.agent.meter import Meter
from antiphon.agent.model import Frame, RunRow, frame
from antiphon.agent.store import events, runs, threads
from antiphon.agent_api.messages import AnyEvent, Usage
from antiphon.clock import Clock
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import AntiphonError, LeaseLostError

T = TypeVar("T")

FLUSH_S = 0.075
FLUSH_COUNT = 64
MAX_PENDING = 1_024
"""Deltas are committed after this time or number; a stream waits when so many are pending."""

Draft = Callable[..., AnyEvent]
Also = Callable[[Connection], object]


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end even when the caller is cancelled; that comes out afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error from None
        raise


class Recorder:
    """Writes the events of one attempt. Used by one task at a time. What `meter` counts is stored
    with every commit."""

    def __init__(self, database: Database, log: ThreadLog, run: RunRow, seq: int, clock: Clock):
        self._database = database
        self._log = log
        self._run = run
        self._seq = seq
        self._clock = clock
        self._began = clock.monotonic()
        self.meter = Meter(run.used)
        self._pending: list[Frame] = []
        self._pending_since = 0.0
        self._lock = asyncio.Lock()
        self._flight: asyncio.Task[None] | None = None
        self._broken: AntiphonError | None = None
        self._closed = False

    @property
    def spent_ms(self) -> int:
        """Milliseconds that all attempts of the run have worked so far."""
        return self._run.spent_ms + int((self._clock.monotonic() - self._began) * 1000)

    @property
    def usage(self) -> Usage:
        """What all attempts of the run have used so far."""
        return self.meter.usage(self.spent_ms / 1000)

    def draft(self, kind: Draft, **fields: object) -> Draft:
        """An event of this attempt that waits for its seq."""
        return partial(
            kind,
            thread_id=self._run.thread.thread_id,
            run_id=self._run.run_id,
            attempt=self._run.attempt,
            **fields,
        )

    async def stream(self, draft: Draft) -> None:
        """Publishes a delta at once; it becomes durable with its group.

        Raises DatabaseError or LeaseLostError when an earlier group failed."""
        self._check_open()
        event = self._next(draft)
        one = frame(event)
        if not self._pending:
            self._pending_since = self._clock.monotonic()
        self._pending.append(one)
        self._log.publish(one, event, committed=False)
        if (
            len(self._pending) < FLUSH_COUNT
            and self._clock.monotonic() - self._pending_since < FLUSH_S
        ):
            return
        if self._flight is not None:
            if not self._flight.done() and len(self._pending) < MAX_PENDING:
                return
            await asyncio.wait({self._flight})
            self._flight.exception()  # seen; it is raised below
        if self._broken is not None:
            raise self._broken
        self._flight = asyncio.create_task(self._write([], None))

    async def commit(self, *drafts: Draft, also: Also | None = None) -> None:
        """Commits pending deltas, `drafts` and what `also` writes in one transaction, then
        publishes. Not interrupted by cancellation. Raises DatabaseError, LeaseLostError."""
        self._check_open()
        await unbroken(self._write(list(drafts), also))

    async def close(self) -> None:
        """Lets a group commit under way end; nothing is written after. Never raises."""
        self._closed = True
        if self._flight is not None:
            await asyncio.wait({self._flight})
            if not self._flight.cancelled():
                self._flight.exception()

    async def _write(self, drafts: list[Draft], also: Also | None) -> None:
        async with self._lock:
            if self._broken is not None:
                raise self._broken
            batch, self._pending = self._pending, []
            made = [self._next(draft) for draft in drafts]
            frames = [frame(event) for event in made]
            run, usage = self._run, self.usage

            def transaction(connection: Connection) -> None:
                threads.lock(connection, run.thread)
                runs.fence(connection, run.thread, run.run_id, run.attempt, usage)
                events.append(connection, run.thread, batch + frames)
                if also is not None:
                    also(connection)
                crash_point("events.before_commit")

            try:
                await self._database.write(transaction)
            except AntiphonError as error:
                self._broken = error
                raise
            crash_point("events.committed")
            if batch:
                self._log.committed(batch[-1].seq)
            for one, event in zip(frames, made, strict=True):
                self._log.publish(one, event, committed=True)

    def _next(self, draft: Draft) -> AnyEvent:
        self._seq += 1
        return draft(seq=self._seq)

    def _check_open(self) -> None:
        if self._closed:
            raise LeaseLostError("This attempt is over.")


__all__ = ["Draft", "Recorder", "unbroken"]
