"""The threads that this process has to do with now: their live logs, locks and running runs.

A thread stays here while someone uses it; all of it can be made again from the database.
"""

from __future__ import annotations

import asyncio

from antiphon.agent.live import LiveRun
from antiphon.agent.log import ThreadLog
from antiphon.agent.model import ThreadId


class ThreadState:
    """One thread in memory. `lock` puts its verbs in order; `run` is what runs here now."""

    def __init__(self, thread: ThreadId) -> None:
        self.thread = thread
        self.log = ThreadLog()
        self.lock = asyncio.Lock()
        self.run: LiveRun | None = None
        self.users = 0


class Hub:
    """All of them."""

    def __init__(self) -> None:
        self.erasures = 0
        """How often something was erased, of whichever thread: copies in memory are stale then."""
        self._states: dict[ThreadId, ThreadState] = {}

    def hold(self, thread: ThreadId) -> ThreadState:
        """The thread's state, kept until as many calls of `drop`."""
        state = self._states.get(thread)
        if state is None:
            state = self._states[thread] = ThreadState(thread)
        state.users += 1
        return state

    def drop(self, state: ThreadState) -> None:
        """Ends a `hold`."""
        state.users -= 1
        if state.users == 0:
            del self._states[state.thread]

    def live(self) -> list[LiveRun]:
        """The runs that this process works on."""
        return [state.run for state in self._states.values() if state.run is not None]
