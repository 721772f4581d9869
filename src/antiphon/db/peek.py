"""Looking into a database without changing it: no file is made, nothing is migrated, no lock is
held longer than the look takes. For dry runs, and for what must be known before a start."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from antiphon.db import failures, identity, migrate, postgres, sqlite
from antiphon.db.database import BUSY_TIMEOUT_MS, parsed_url, store_name
from antiphon.errors import MissingExtraError, StateError

T = TypeVar("T")


async def peek(
    url: str,
    migrations: Path,
    function: Callable[[Connection], T],
    *,
    any_schema: bool = False,
    steady: bool = False,
    store: str = "",
) -> T | None:
    """What `function` reads in the database as the newest schema shows it; None where there is no
    database, or an empty one.

    With `any_schema` it reads the tables as they are, however old. Otherwise an older SQLite
    database is migrated in a copy in memory, and an older PostgreSQL one is refused (StateError).
    With `steady` all that it reads is of one moment, also where another process begins to write
    meanwhile (SQLite may make its log and index files beside the database for that).
    Raises what `Database.open` raises, too."""
    parsed = parsed_url(url)
    store = store or store_name(migrations)
    return await asyncio.get_running_loop().run_in_executor(
        None, _looked, parsed, migrations, function, any_schema, steady, store
    )


def _looked(
    url: URL,
    migrations: Path,
    function: Callable[[Connection], T],
    any_schema: bool,
    steady: bool,
    store: str,
) -> T | None:
    where = url.render_as_string(hide_password=True)
    is_sqlite = url.get_backend_name() == "sqlite"
    engine: Engine | None = None
    try:
        if is_sqlite:
            path = sqlite.path_of(url)
            where = str(path)
            if not path.exists() or path.stat().st_size == 0:
                return None
            engine = _reader(path, steady)
        else:
            engine = postgres.engine(url, BUSY_TIMEOUT_MS).execution_options(
                postgresql_readonly=True, isolation_level="REPEATABLE READ"
            )
        with engine.connect() as connection:
            if is_sqlite and steady:
                connection.exec_driver_sql("BEGIN")
            found = identity.look(connection)
            identity.check(found, store, connection.dialect.name, where)
            if found.revision is None:
                return None
            known = migrate.head(migrations)
            if found.revision > known:
                raise migrate.too_new(where, found.revision, known)
            if any_schema or found.revision == known:
                return function(connection)
            if not is_sqlite:
                raise StateError(
                    f"{where} has schema {found.revision}, and a start would bring it to {known}: "
                    "what is in it can't be told before that."
                )
            return _in_a_copy(connection, migrations, function, store, where)
    except (SQLAlchemyError, sqlite3.Error) as error:
        if isinstance(error, NoSuchModuleError):
            raise _no_postgres() from error
        raise failures.at_start(error, where) from error
    except ModuleNotFoundError as error:
        raise _no_postgres() from error
    except OSError as error:
        raise StateError(f"Can't read {where}: {error.strerror}.") from error
    finally:
        if engine is not None:
            engine.dispose()


def _reader(path: Path, steady: bool) -> Engine:
    """An engine that only reads the file. Without a write-ahead log beside it nobody has it open,
    and it is read as it is: otherwise SQLite would make one just to read (measured). `steady` lets
    it do so: somebody may open it in the next moment."""
    query = {"mode": "ro", "uri": "true"}
    if not steady and not path.with_name(path.name + "-wal").exists():
        query["immutable"] = "1"
    return create_engine(
        URL.create("sqlite", database=path.absolute().as_uri(), query=query),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )


def _in_a_copy(
    connection: Connection,
    migrations: Path,
    function: Callable[[Connection], T],
    store: str,
    where: str,
) -> T:
    """The same in a copy in memory, which is migrated first."""
    copy = create_engine("sqlite://", poolclass=StaticPool)
    try:
        raw = copy.raw_connection()
        source: Any = connection.connection.driver_connection
        source.backup(raw.driver_connection)
        raw.close()
        migrate.upgrade(copy, migrations, store=store, where=where)
        with copy.connect() as migrated:
            return function(migrated)
    finally:
        copy.dispose()


def _no_postgres() -> MissingExtraError:
    return MissingExtraError("PostgreSQL needs an extra: install antiphon[postgres].")
