"""A dump put back: into a new SQLite file beside the old one, or in the place of what a PostgreSQL
database holds. It comes back in the schema that it was taken from and goes forward from there."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, LargeBinary, MetaData, insert
from sqlalchemy.exc import SQLAlchemyError

from antiphon.db import failures, identity, migrate, postgres, sqlite
from antiphon.db.database import BUSY_TIMEOUT_MS, parsed_url
from antiphon.db.dump import Dump
from antiphon.db.private_file import sync_folder
from antiphon.errors import StateError

T = TypeVar("T")

BESIDE = ("", "-wal", "-shm", "-journal")
"""What SQLite's files beside a database are called."""


async def build(
    dump: Dump | None,
    path: Path,
    migrations: Path,
    change: Callable[[Connection], None],
    *,
    store: str,
) -> None:
    """Makes a SQLite database at `path`, in the place of whatever is there: the dump's rows in the
    newest schema (None: none), then what `change` does to them. When this returns, it is whole,
    closed and on disk. Raises SchemaTooNewError, StateError for rows that do not fit, and what
    the disk makes of it."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, _build, dump, path, migrations, change, store)


def _build(
    dump: Dump | None,
    path: Path,
    migrations: Path,
    change: Callable[[Connection], None],
    store: str,
) -> None:
    discard(path)
    engine: Engine | None = None
    try:
        sqlite.inspect_file(path, store, BUSY_TIMEOUT_MS)  # makes it, for its owner alone
        engine = sqlite.engine(
            URL.create("sqlite", database=str(path)), "IMMEDIATE", BUSY_TIMEOUT_MS
        )
        if dump is not None:
            check(dump, migrations, store, str(path))
            migrate.upgrade(engine, migrations, store=store, where=str(path), to=dump.revision)
            with engine.begin() as connection:
                fill(connection, dump)
        migrate.upgrade(engine, migrations, store=store, where=str(path))
        with engine.begin() as connection:
            change(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise failures.at_start(error, str(path)) from error
    finally:
        if engine is not None:
            engine.dispose()  # the last connection writes the log into the file and removes it
    _sync(path)


def check(dump: Dump, migrations: Path, store: str, where: str) -> None:
    """Raises SchemaTooNewError for a dump that a newer version made, and ForeignDatabaseError for
    one of another store."""
    if dump.store != store:
        raise identity.foreign(store, where)
    known = migrate.revisions(migrations)
    if dump.revision > known[-1]:
        raise migrate.too_new(where, dump.revision, known[-1])
    if dump.revision not in known:
        raise identity.foreign(store, where)


def fill(connection: Connection, dump: Dump) -> None:
    """Puts the dump's rows into the tables of its revision, which are empty. Raises StateError
    where they do not fit."""
    found = MetaData()
    found.reflect(connection)
    for rows in dump.tables:
        table = found.tables.get(rows.table)
        if table is None or not set(rows.columns) <= set(table.columns.keys()):
            raise StateError(
                f"The dump has a table {rows.table!r} that schema {dump.revision} does not have."
            )
        if not rows.rows:
            continue
        binary = {c.name for c in table.columns if isinstance(c.type, LargeBinary)}
        values: list[dict[str, Any]] = [
            {
                name: base64.b64decode(value) if name in binary and value is not None else value
                for name, value in zip(rows.columns, row, strict=True)
            }
            for row in rows.rows
        ]
        connection.execute(insert(table), values)


async def replace(
    dump: Dump,
    url: str,
    migrations: Path,
    carry: Callable[[Connection], T],
    finish: Callable[[Connection, T | None], None],
    *,
    store: str,
) -> None:
    """Puts a dump in the place of all that a PostgreSQL database of this store holds, in one
    transaction. `carry` reads what was there before (not asked of a new database), and `finish`
    gets it once the rows are there. Raises as `build`, and ForeignDatabaseError."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(
        None, _replace, dump, parsed_url(url), migrations, carry, finish, store
    )


def _replace(
    dump: Dump,
    url: URL,
    migrations: Path,
    carry: Callable[[Connection], T],
    finish: Callable[[Connection, T | None], None],
    store: str,
) -> None:
    where = url.render_as_string(hide_password=True)
    check(dump, migrations, store, where)
    engine = postgres.engine(url, BUSY_TIMEOUT_MS)
    try:
        with engine.begin() as connection:
            postgres.lock_for_migration(connection)
            found = identity.look(connection)
            identity.check(found, store, connection.dialect.name, where)
            carried = carry(connection) if found.revision is not None else None
            old = MetaData()
            old.reflect(connection)
            old.drop_all(connection)
            migrate.run(connection, migrations, dump.revision)
            identity.write(connection, store)
            fill(connection, dump)
            migrate.run(connection, migrations, None)
            finish(connection, carried)
    except SQLAlchemyError as error:
        raise failures.at_start(error, where) from error
    finally:
        engine.dispose()


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None for one of PostgreSQL. Raises SettingsError."""
    parsed = parsed_url(url)
    return sqlite.path_of(parsed) if parsed.get_backend_name() == "sqlite" else None


def install(new: Path, target: Path) -> None:
    """Puts the closed SQLite database `new` in the place of `target`, which nobody has open.
    Killed in between, `target` may be the old one without its last transactions: whoever calls
    this must see to it that it is called again before anybody opens it."""
    for suffix in BESIDE[1:]:
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    new.replace(target)
    sync_folder(target.parent)


def discard(path: Path) -> None:
    """Removes a SQLite database with its files beside; one that is not there is fine."""
    for suffix in BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


__all__ = ["build", "check", "discard", "file_of", "fill", "install", "replace"]
