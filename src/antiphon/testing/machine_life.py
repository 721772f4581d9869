"""One life of a process inside a test: it can be killed or frozen at each of its crossings to the
outside (a request, a transaction, a call of the agent) and at each of its crash points.

A killed life does nothing any more: whatever of it still runs is stopped at its next crossing, as
if it had never come there.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)
"""The life to which the running code belongs; of the test machine alone."""


class KilledError(BaseException):
    """This life is over."""


class Life:
    """Counts crossings, and ends or stands still where it is told to."""

    def __init__(self) -> None:
        self.dead = False
        self.crossings = 0
        self.epoch = 0
        """The lease that it holds, or thinks it holds; 0 before it has one."""
        self.told: frozenset[str] = frozenset()
        """The rooms of which this life knows that it is no longer in them."""
        self.wrongs: list[str] = []
        """What it did that it must not."""
        self.on_visit: Callable[[Life, str], None] = lambda _life, _name: None
        self.on_kill: Callable[[], None] = lambda: None
        self._fuse: int | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    def die_after(self, crossings: int) -> None:
        """Dies at the crossing of this number from now on (1: the next)."""
        self._fuse = crossings

    def kill(self) -> None:
        """Dies now."""
        self.dead = True
        self._thawed.set()
        self.on_kill()

    def freeze(self) -> None:
        """Stands still at the next crossing, until `thaw`."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Goes on."""
        self._thawed.set()

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return not self._thawed.is_set()

    def visit(self, name: str) -> None:
        """Code of this life is at the point `name`. Raises KilledError."""
        if self.dead:
            raise KilledError(name)
        self.crossings += 1
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse <= 0:
                self.kill()
                raise KilledError(name)
        self.on_visit(self, name)

    async def cross(self, name: str) -> None:
        """Code of this life goes outside. Raises KilledError."""
        while self.frozen:
            await self._thawed.wait()
        self.visit(name)


class LifePlan:
    """Stands in for `antiphon.crash`'s plan: crash points of a life are visits of it."""

    def visit(self, name: str) -> None:
        life = LIFE.get()
        if life is not None:
            life.visit(name)
