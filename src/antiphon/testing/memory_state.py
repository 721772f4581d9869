"""The state of a surface in memory, without threads and without chance: the real statements over a
SQLite database that nobody else sees. For fakes, also on a virtual loop."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import Connection

from antiphon.clock import Clock
from antiphon.records.schema import metadata
from antiphon.sdk.prototype_state import LocalState
from antiphon.testing.clock import FakeClock
from antiphon.testing.direct_database import MemoryDisk

T = TypeVar("T")


class Counting:
    """Implements `antiphon.clock.Chance`: its tokens are numbers, long enough for a thread's id."""

    def __init__(self) -> None:
        self._given = 0

    def token(self) -> str:
        self._given += 1
        return f"fake-token-{self._given:06d}"

    def jitter(self) -> float:
        return 0.0


class InstantDatabase:
    """The calls of `antiphon.db.Database`, each done at once."""

    def __init__(self) -> None:
        self._disk = MemoryDisk(metadata)
        weakref.finalize(self, self._disk.close)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """As `Database.write`."""
        return self._disk.run(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """As `Database.read`."""
        return self._disk.run(function)

    async def scrub(self) -> None:
        """As `Database.scrub`: there is no file."""

    async def close(self) -> None:
        """As `Database.close`; what was kept stays, as on a disk."""


class MemoryState(LocalState):
    """A `LocalState` in memory."""

    def __init__(
        self,
        database: InstantDatabase,
        clock: Clock,
        chance: Counting,
        *,
        surface: str,
        base: Mapping[str, Any],
    ):
        super().__init__(database, clock, chance, surface=surface, base=base)
        self._parts = (database, clock, chance)

    def another(self, surface: str, base: Mapping[str, Any]) -> MemoryState:
        """The same rows, as another process sees them."""
        return MemoryState(*self._parts, surface=surface, base=base)


def memory_state(
    surface: str = "matrix", *, clock: Clock | None = None, base: Mapping[str, Any] | None = None
) -> MemoryState:
    """A new, empty state. Without a clock its time stands still."""
    return MemoryState(
        InstantDatabase(), clock or FakeClock(), Counting(), surface=surface, base=base or {}
    )
