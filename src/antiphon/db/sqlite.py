"""SQLite: looking at a file before it is touched, and connections that keep what they promise.

WAL with `synchronous=FULL`: when a commit returns, it is on disk. `secure_delete`: what was deleted
is overwritten, and `scrub` takes the last copy of it out of the write-ahead log."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool, StaticPool

from antiphon.db import identity
from antiphon.errors import EXIT_USAGE, DatabaseError, SettingsError

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")

LEAST_FREE_BYTES = 1 << 20
"""A disk with less room than this is full: not even a start would get far."""

CHECKED_BYTES = 256 << 20
"""A file up to this size is checked whole at every start (measured: 0.6 s a gigabyte
once it is in memory)."""


def path_of(url: URL) -> Path:
    """The file that `url` names. Raises SettingsError where it names none."""
    if url.database in (None, "", ":memory:"):
        raise SettingsError("A database in memory keeps nothing: give sqlite:/// a file's path.")
    if url.query or str(url.database).startswith("file:"):
        raise SettingsError("Write a SQLite database as sqlite:///PATH, with nothing behind it.")
    return Path(str(url.database))


def inspect_file(path: Path, store: str, busy_timeout_ms: int) -> None:
    """Looks at the file without changing a byte of it, before anything opens it for writing.

    A file that is not there is made, for its owner alone. Raises ForeignDatabaseError (another
    store's or another program's), DatabaseError (damaged, or no room on the disk), and what
    SQLite raises."""
    _make(path)
    free = shutil.disk_usage(path.parent).free
    if free < LEAST_FREE_BYTES:
        raise _unusable(
            f"The disk is full: {path} has {free // 1024} KiB left. Make room on it, then start "
            "again."
        )
    if path.stat().st_size == 0:
        return
    engine = create_engine(
        URL.create("sqlite", database=f"file:{quoted(path)}", query={"mode": "ro", "uri": "true"}),
        poolclass=NullPool,
        connect_args={"timeout": busy_timeout_ms / 1000},
    )
    with engine.connect() as connection:
        identity.check(identity.look(connection), store, "sqlite", str(path))
        if path.stat().st_size > CHECKED_BYTES:
            return
        wrong = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if wrong != "ok":
        raise _unusable(f"{path} is damaged ({wrong}). Restore a backup of it.")


def _make(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _unusable(
            f"The database {path} can't be opened: {error.strerror}. Its folder must be there, "
            "and both must be writable."
        ) from error


def quoted(path: Path) -> str:
    """The path as it stands in a `file:` URI."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _unusable(sentence: str) -> DatabaseError:
    error = DatabaseError(sentence)
    error.exit_code = EXIT_USAGE
    return error


def engine(url: URL, begin: str, busy_timeout_ms: int) -> Engine:
    """An engine of one connection, whose transactions begin with `BEGIN begin`."""
    made = create_engine(
        url,
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
    )

    @event.listens_for(made, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver's own transaction handling is switched off: `begin` below opens ours.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(made, "begin")
    def start(connection: Connection) -> None:
        connection.execute(text(f"BEGIN {begin}"))

    return made


def probe(connection: Connection) -> None:
    """Writes something that changes nothing, so that a disk that takes no writes is found now."""
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    connection.execute(text(f"PRAGMA user_version = {version}"))


def scrub(engine: Engine) -> bool:
    """Takes what was deleted out of the write-ahead log too: its pages go to the database file,
    where deleted text is overwritten, and the log is cut to nothing.

    Waits for readers, up to the busy time-out; False where one stayed longer."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = cursor.fetchone()
        cursor.close()
        return row is not None and not row[0]
    finally:
        raw.close()
