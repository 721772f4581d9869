"""One database behind two calls: `write` and `read`, each one transaction on a thread of its own.

Stores are plain functions over a SQLAlchemy `Connection`, so what is one transaction is what
stands in one function. When `write` returns, it is on disk. SQLite has one writer thread (it
allows one writer anyway); PostgreSQL a small pool.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from antiphon import telemetry
from antiphon.db import failures, migrate, postgres, sqlite
from antiphon.errors import DatabaseError, MissingExtraError, SettingsError

T = TypeVar("T")

BUSY_TIMEOUT_MS = 5_000
"""How long a transaction waits for a lock that another program holds."""


def database_url(setting: str, state: Path, default_name: str) -> str:
    """The database URL that a `…__DATABASE` setting names, or the default SQLite file."""
    if setting:
        return setting
    return f"sqlite:///{state / default_name}"


MOVED = {"records": "sdk"}
"""Stores whose folder was another one once: their databases keep the name that they carry."""


def store_name(migrations: Path) -> str:
    """The name that the databases of a store carry for ever: where its folder of migrations is in
    the package (or was, when the first was made), such as `agent.store`."""
    parts = migrations.parent.parts
    if "antiphon" not in parts:
        return migrations.parent.name
    name = ".".join(parts[len(parts) - parts[::-1].index("antiphon") :])
    return MOVED.get(name, name)


class Database:
    """A migrated database. Made by `open`; `close` waits for running transactions."""

    def __init__(self, writer: Engine, reader: Engine, writers: int):
        self._writer = writer
        self._reader = reader
        self._write_threads = ThreadPoolExecutor(writers, thread_name_prefix="db-write")
        self._read_threads = ThreadPoolExecutor(1, thread_name_prefix="db-read")
        self._closed = False

    @classmethod
    async def open(cls, url: str, migrations: Path, *, store: str = "") -> Database:
        """Connects and migrates to the newest schema in the folder `migrations`.

        `store` names whose database it is (by default as `store_name` says): one that carries
        another name is refused. A new SQLite file is its owner's alone.

        Raises SettingsError (bad URL), MissingExtraError, ForeignDatabaseError,
        SchemaTooNewError, and DatabaseError for one that is full, locked, read-only, damaged
        (exit code 2) or not to be reached (1). Nothing is changed in any of these."""
        parsed = parsed_url(url)
        store = store or store_name(migrations)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, _opened, cls, parsed, migrations, store)

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

    async def scrub(self) -> None:
        """After what people said was deleted: leaves no copy of it in SQLite's files.

        (PostgreSQL keeps dead rows until its own vacuum, and what its log archive keeps.) Waits
        for readers, up to the busy time-out. Raises DatabaseError."""
        if self._closed:
            raise DatabaseError("The database is closed: the process is stopping.")
        if not self.is_sqlite:
            return
        done = await asyncio.get_running_loop().run_in_executor(
            self._write_threads, _translated, lambda: sqlite.scrub(self._writer)
        )
        if not done:
            raise DatabaseError(
                "Another program reads the database, so that deleted text is still on the disk."
            )

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
            # All of its threads: a connection that is in use would outlive the disposal.
            await loop.run_in_executor(None, threads.shutdown)
            await loop.run_in_executor(None, engine.dispose)


def _opened(cls: type[Database], url: URL, migrations: Path, store: str) -> Database:
    """Opens it, on a thread that may wait."""
    where = url.render_as_string(hide_password=True)
    writer: Engine | None = None
    try:
        if url.get_backend_name() == "sqlite":
            path = sqlite.path_of(url)
            where = str(path)
            sqlite.inspect_file(path, store, BUSY_TIMEOUT_MS)
            writer = sqlite.engine(url, "IMMEDIATE", BUSY_TIMEOUT_MS)
            reader, writers = sqlite.engine(url, "DEFERRED", BUSY_TIMEOUT_MS), 1
        else:
            writer = reader = postgres.engine(url, BUSY_TIMEOUT_MS)
            writers = postgres.WRITERS
        migrate.upgrade(writer, migrations, store=store, where=where)
        # What an earlier process deleted and did not live to scrub. No reason not to start.
        if url.get_backend_name() == "sqlite" and not sqlite.scrub(writer):
            telemetry.logger("db").warning("scrub_waits", database=where)
    except BaseException as error:
        if writer is not None:
            writer.dispose()
        if isinstance(error, SQLAlchemyError | sqlite3.Error):
            raise failures.at_start(error, where) from error
        if isinstance(error, NoSuchModuleError | ModuleNotFoundError):
            raise MissingExtraError(
                "PostgreSQL needs an extra: install antiphon[postgres]."
            ) from error
        raise
    return cls(writer, reader, writers)


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise failures.translated(error) from error


def parsed_url(url: str) -> URL:
    """Reads the URL of a database. Raises SettingsError where it is none of ours."""
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        backend = parsed.drivername.partition("+")[0]
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            "The database URL can't be read. Write sqlite:///PATH or postgresql://USER@HOST/NAME."
        ) from error
    if backend not in ("sqlite", "postgresql"):
        raise SettingsError(
            f"Databases are sqlite:///PATH or postgresql://…, not {parsed.drivername!r}."
        )
    return parsed


__all__ = ["BUSY_TIMEOUT_MS", "Database", "database_url", "store_name"]
