"""What stands in the place of the adapter's own parts in the test machine: no port, no threads, no
logs, a longer poll, and crash points that end one life instead of the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog

from antiphon import crash
from antiphon.adapter.matrix import service, sync
from antiphon.adapter.matrix.journal import journal as journals
from antiphon.testing import homeserver_handlers
from antiphon.testing.direct_database import DirectDatabase, MemoryDisk
from antiphon.testing.machine_life import LIFE, LifePlan

POLL_S = 600
"""How long a sync waits: so that a day takes few of them."""


class _NoOperations:
    """The operations port, without a port."""

    def __init__(self, *_: object) -> None:
        """Needs nothing."""

    async def start(self, *_: object) -> str:
        return "http://machine"

    async def stop(self) -> None:
        """Nothing listens."""


class _Databases:
    """In the place of `Database`: whoever opens it gets the disk, as the life that it is."""

    def __init__(self, disk: MemoryDisk):
        self._disk = disk

    async def open(self, url: str, migrations: Path, **_: Any) -> DirectDatabase:
        life = LIFE.get()
        assert life is not None
        await life.cross("database.open")
        return DirectDatabase(self._disk, life)


@contextmanager
def replaced(disk: MemoryDisk) -> Iterator[None]:
    """While it lasts, the parts that need a thread, a socket or long polling are put aside,
    and the log is silent."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with (
            patch.object(crash, "_PLAN", LifePlan()),
            patch.object(journals, "Database", _Databases(disk)),
            patch.object(service, "Operations", _NoOperations),
            patch.object(sync, "POLL_MS", POLL_S * 1000),
            patch.object(homeserver_handlers, "MAX_WAIT_S", float(POLL_S)),
        ):
            yield
    finally:
        structlog.configure(**before)
