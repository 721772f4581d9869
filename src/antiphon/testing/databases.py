"""The databases that every store is tested on. The fixture `store_url` of `tests/conftest.py` gives
each test a fresh one of each kind; this is what stands behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from antiphon.testing.postgres import PostgresServer

Kind = Literal["sqlite", "postgres"]

KINDS: tuple[Kind, ...] = ("sqlite", "postgres")


@contextmanager
def fresh_database(
    kind: Kind, folder: Path, server: Callable[[], PostgresServer], name: str = "store"
) -> Iterator[str]:
    """The URL of a new, empty database: a file `NAME.db` in `folder`, or a database of the
    server, which is asked for only then and drops it at the end."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / name}.db"
        return
    postgres = server()
    url = postgres.fresh()
    try:
        yield url
    finally:
        postgres.drop(url)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds SQLite's write lock on the file `path`, as another program would."""
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")
    finally:
        holder.close()
