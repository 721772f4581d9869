"""A look at a database's health, and at who holds a lock; nothing is changed by either."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from antiphon.db import Database, StateLock
from antiphon.db.checkup import checkup
from antiphon.db.lock import holder
from antiphon.errors import ForeignDatabaseError, SchemaTooNewError, SettingsError

NOTES = Path(__file__).parent / "notes" / "migrations"
NEWER = Path(__file__).parent / "newer" / "notes" / "migrations"


async def make(url: str, migrations: Path, store: str = "") -> None:
    database = await Database.open(url, migrations, store=store)
    await database.close()


async def test_schema_and_name_are_told_on_both_databases(store_url: str) -> None:
    await make(store_url, NOTES)
    same, older = await checkup(store_url, NOTES), await checkup(store_url, NEWER)
    assert (same.revision, same.known, same.problems) == ("0001", "0001", ())
    assert older.revision == "0001" < older.known
    await make(store_url, NEWER)
    with pytest.raises(SchemaTooNewError):
        await checkup(store_url, NOTES)


async def test_another_stores_database_is_refused(store_url: str) -> None:
    await make(store_url, NOTES, store="others")
    with pytest.raises(ForeignDatabaseError):
        await checkup(store_url, NOTES)


async def test_damage_that_the_head_does_not_show_is_found_and_left_as_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "notes.db"
    await make(f"sqlite:///{path}", NOTES)
    with sqlite3.connect(path) as connection:
        rows = [(number, "x" * 500) for number in range(100)]
        connection.executemany("INSERT INTO notes VALUES (?, ?)", rows)
    connection.close()
    raw = bytearray(path.read_bytes())
    raw[-4096 + 8 : -4096 + 64] = b"\xff" * 56
    path.write_bytes(raw)
    assert (await checkup(f"sqlite:///{path}", NOTES)).problems
    assert path.read_bytes() == bytes(raw)


async def test_a_database_that_is_not_there_has_no_schema_and_is_not_made(tmp_path: Path) -> None:
    found = await checkup(f"sqlite:///{tmp_path / 'x.db'}", NOTES)
    assert (found.where, found.revision, found.problems) == (str(tmp_path / "x.db"), None, ())
    assert list(tmp_path.iterdir()) == []


async def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError):
        await checkup("mysql://x/y", NOTES)


def test_a_lock_says_who_holds_it_and_is_left_alone(tmp_path: Path) -> None:
    assert holder(tmp_path, "x") is None
    assert list(tmp_path.iterdir()) == []
    with StateLock.acquire(tmp_path, "x", what="A test") as lock:
        assert holder(tmp_path, "x") == os.getpid()
        assert holder(tmp_path, "y") is None
        lock.path.write_text("")
        assert holder(tmp_path, "x") == 0
    assert holder(tmp_path, "x") is None
    StateLock.acquire(tmp_path, "x", what="A test").release()
