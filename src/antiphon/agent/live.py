"""A run that this process works on: the handle by which others stop it, and the guard under which
its work runs. The run's own task is never cancelled for that: it has to record what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, TypeVar

from antiphon.agent.model import ThreadId

T = TypeVar("T")

CLOSE_GRACE_S = 3.0
"""How long a stopped model step or tool may take to clean up before it is left behind."""


class Reason(StrEnum):
    """Why a run's work is stopped."""

    CANCEL = "cancel"
    ERASE = "erase"
    """It was withdrawn, or its thread deleted: nothing of it is to be recorded."""
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"


class Interrupted(Exception):  # noqa: N818 - a stop by request is no error
    """The work was stopped; `reason` says why."""

    def __init__(self, reason: Reason):
        super().__init__(reason.value)
        self.reason = reason


class LiveRun:
    """The handle of a run in this process."""

    def __init__(self, thread: ThreadId, run_id: str) -> None:
        self.thread = thread
        self.run_id = run_id
        self.reason: Reason | None = None
        self.forgets = False
        """Something was erased from the thread's history: the next step must read it anew."""
        self._stop = asyncio.Event()
        self._over = asyncio.Event()

    def interrupt(self, reason: Reason) -> None:
        """Stops the work now; the first reason stands, except that ERASE outdoes all."""
        if self.reason is None or reason is Reason.ERASE:
            self.reason = reason
        self._stop.set()

    async def over(self) -> None:
        """Returns when the run's task has recorded the end and stopped."""
        await self._over.wait()

    def ended(self) -> None:
        """The run's task is done with it."""
        self._over.set()

    def check(self) -> None:
        """Raises Interrupted where the run was stopped: a step or tool that goes on after that
        has no say any more."""
        if self.reason is not None:
            raise Interrupted(self.reason)

    async def pause(self, seconds: float) -> None:
        """Waits; raises Interrupted when the run is stopped meanwhile."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return
        self.check()

    async def guard(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Runs `work` as a task of its own, cancelled when the run is stopped or after `timeout`
        seconds; what it raises comes out. Raises Interrupted."""
        if self.reason is not None or timeout <= 0:
            work.close()
            self.reason = self.reason or Reason.DEADLINE
            raise Interrupted(self.reason)
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if self.reason is None and not task.done():
                self.reason = Reason.DEADLINE
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_GRACE_S)
        if self.reason is not None:
            if task.done() and not task.cancelled():
                task.exception()  # what a stopped step fails with does not matter
            raise Interrupted(self.reason)
        return task.result()
