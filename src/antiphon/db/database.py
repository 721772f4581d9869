"""One database behind two calls: `write` and `read`, each one transaction on a thread of its own.

Stores are plain functions over a SQLAlchemy `Connection`, so what is one transaction is what
stands in one function. SQLite runs in WAL with `synchronous=FULL`: when `write` returns, it is
on disk. SQLite has one writer thread (it allows one writer anyway); PostgreSQL a small pool.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from antiphon.db import migrate
from antiphon.errors import DatabaseError, MissingExtraError, SettingsError

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000


def database_url(setting: str, state: Path, default_name: str) -> str:
    """The database URL that a `…__DATABASE` setting names, or the default SQLite file."""
    if setting:
        return setting
    return f"sqlite:///{state / default_name}"


class Database:
    """A migrated database. Made by `open`; `close` waits for running transactions."""

    def __init__(self, writer: Engine, reader: Engine, writers: int):
        self._writer = writer
        self._reader = reader
        self._write_threads = ThreadPoolExecutor(writers, thread_name_prefix="db-write")
        self._read_threads = ThreadPoolExecutor(1, thread_name_prefix="db-read")
        self._closed = False

    @classmethod
    async def open(cls, url: str, migrations: Path) -> Database:
        """Connects and migrates to the newest schema in the folder `migrations`.

        Raises SettingsError (bad URL), MissingExtraError, SchemaTooNewError, DatabaseError."""
        writer, reader, writers = _engines(url)
        database = cls(writer, reader, writers)
        try:
            await asyncio.get_running_loop().run_in_executor(
                database._write_threads, _translated, lambda: migrate.upgrade(writer, migrations)
            )
        except BaseException:
            await database.close()
            raise
        return database

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite (one machine) or PostgreSQL."""
        return self._writer.dialect.name == "sqlite"

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Runs `function` in one transaction; when this returns, the change is durable.

        `function` may read and must not keep the connection. If it raises, all is rolled back and
        the exception comes out. A cancelled caller does not stop a transaction that has begun.
        Raises DatabaseError where the database itself failed."""
        return await self._run(self._write_threads, self._writer, function)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Runs `function` on a connection for reading; sees every `write` that has returned."""
        return await self._run(self._read_threads, self._reader, function)

    async def _run(
        self, threads: ThreadPoolExecutor, engine: Engine, function: Callable[[Connection], T]
    ) -> T:
        if self._closed:
            raise DatabaseError("The database is closed: the process is stopping.")

        def transaction() -> T:
            with engine.begin() as connection:
                return function(connection)

        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            threads, context.run, _translated, transaction
        )

    async def close(self) -> None:
        """Waits for running transactions, then closes. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        for threads, engine in (
            (self._write_threads, self._writer),
            (self._read_threads, self._reader),
        ):
            await loop.run_in_executor(threads, engine.dispose)
            threads.shutdown(wait=False)


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except DBAPIError as error:
        raise DatabaseError(f"The database failed: {error.orig}. Nothing was saved.") from error
    except SQLAlchemyError as error:
        raise DatabaseError(f"The database failed: {error}. Nothing was saved.") from error


def _engines(url: str) -> tuple[Engine, Engine, int]:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            return (_sqlite(parsed, "IMMEDIATE"), _sqlite(parsed, "DEFERRED"), 1)
        if parsed.get_backend_name() != "postgresql":
            raise SettingsError(
                f"Databases are sqlite:///PATH or postgresql://…, not {parsed.drivername!r}."
            )
        engine = create_engine(parsed, pool_size=5, pool_pre_ping=True)
    except ArgumentError as error:
        raise SettingsError(
            "The database URL can't be read. Write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise MissingExtraError("PostgreSQL needs an extra: install antiphon[postgres].") from error
    return (engine, engine, 4)


def _sqlite(url: Any, begin: str) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        raise SettingsError("A database in memory keeps nothing: give sqlite:/// a file's path.")
    engine = create_engine(
        url,
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver's own transaction handling is switched off: `begin` below opens ours.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.execute(text(f"BEGIN {begin}"))

    return engine


__all__ = ["Database", "database_url"]
