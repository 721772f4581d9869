"""An event loop whose time only passes where everything waits for it, so that days take a moment
and every run of a test is the same. It has no threads and no sockets: what runs on it must
need none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

MOST_TURNS_AT_ONCE = 50_000
"""Turns of the loop without any time passing, after which something spins."""


class SpinningError(AssertionError):
    """Something runs for ever without waiting."""


class StuckError(AssertionError):
    """Everything waits for something that can't come."""


class _NoFiles(selectors.BaseSelector):
    """Watches nothing; a wait of the loop moves its time on."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert self.loop is not None
        self.loop.waited(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0 and jumps to the next timer whenever nothing is ready to run.

    Raises SpinningError and StuckError out of `run_…`."""

    def __init__(self) -> None:
        selector = _NoFiles()
        self._virtual = 0.0
        self._turns = 0
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual

    def jump(self, seconds: float) -> None:
        """Time passes without anything running meanwhile, as in a machine that was suspended."""
        self._virtual += seconds

    def waited(self, timeout: float | None) -> None:
        """The loop has nothing to do for `timeout` seconds (None: for ever)."""
        if timeout is None:
            raise StuckError("everything waits and no timer is set")
        if timeout > 0:
            self._virtual += timeout
            self._turns = 0
            return
        self._turns += 1
        if self._turns > MOST_TURNS_AT_ONCE:
            self._turns = 0
            raise SpinningError("something runs for ever without waiting")


class LoopClock:
    """Implements `antiphon.clock.Clock` over a loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ms: int = 1_700_000_000_000):
        self._loop = loop
        self._start_ms = start_ms
        self.skew_ms = 0
        """How far the wall clock was set off."""

    def now_ms(self) -> int:
        return self._start_ms + self.skew_ms + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
