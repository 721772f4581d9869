"""A database in memory behind the calls of `antiphon.db.Database`, without threads: for tests on a
virtual loop, where a thread would make each run another one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, MetaData, create_engine, event, text
from sqlalchemy.pool import StaticPool

from antiphon.testing.machine_life import Life

T = TypeVar("T")


class MemoryDisk:
    """What outlives a process: one SQLite database in memory with the tables of `metadata`."""

    def __init__(self, metadata: MetaData):
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self.engine = create_engine(
            "sqlite://", creator=lambda: self._connection, poolclass=StaticPool
        )

        @event.listens_for(self.engine, "begin")
        def start(connection: Connection) -> None:
            connection.execute(text("BEGIN"))

        with self.engine.begin() as connection:
            metadata.create_all(connection)

    def run(self, function: Callable[[Connection], T]) -> T:
        """`function` in one transaction."""
        with self.engine.begin() as connection:
            return function(connection)

    def epoch(self) -> int:
        """The journal's lease that was taken last, also from inside a transaction."""
        found = self._connection.execute("SELECT max(epoch) FROM account").fetchone()
        return int(found[0] or 0)

    def copy(self) -> bytes:
        """All of it as it is now."""
        return self._connection.serialize()

    def restore(self, copy: bytes) -> None:
        """Puts an older copy back."""
        self._connection.deserialize(copy)

    def close(self) -> None:
        """Forgets everything."""
        self.engine.dispose()
        self._connection.close()


class DirectDatabase:
    """`Database` as one life sees it. A transaction begins a turn of the loop after it was asked
    for and its caller hears of it a turn after that; a cancelled caller stops only one that has
    not begun, as with threads."""

    def __init__(self, disk: MemoryDisk, life: Life):
        self._disk = disk
        self._life = life

    async def open(self, url: str, migrations: Path, **_: Any) -> DirectDatabase:
        """In the place of `Database.open`."""
        await self._life.cross("database.open")
        return self

    async def write(self, function: Callable[[Connection], T]) -> T:
        """As `Database.write`."""
        return await self._transaction(function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """As `Database.read`."""
        return await self._transaction(function)

    async def close(self) -> None:
        """As `Database.close`."""

    async def _transaction(self, function: Callable[[Connection], T]) -> T:
        await self._life.cross("database")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def begin() -> None:
            if future.cancelled() or self._life.dead:
                return
            try:
                result = self._disk.run(function)
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                loop.call_soon(_fail, future, error)
            else:
                loop.call_soon(_succeed, future, result)

        loop.call_soon(begin)
        return await future


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
