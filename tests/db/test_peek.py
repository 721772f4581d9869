"""Looking into a database leaves it as it is, to the byte."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, text

from antiphon.db import Database
from antiphon.db.peek import peek
from antiphon.errors import (
    DatabaseError,
    ForeignDatabaseError,
    SchemaTooNewError,
    StateError,
)

NOTES = Path(__file__).parent / "notes" / "migrations"
NEWER = Path(__file__).parent / "newer" / "notes" / "migrations"


def notes(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT note FROM notes")).scalars())


def lengths(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT length FROM notes")).scalars())


async def made(url: str) -> None:
    database = await Database.open(url, NOTES)
    await database.write(lambda c: c.execute(text("INSERT INTO notes VALUES (1, 'milk')")))
    await database.close()


def files(folder: Path) -> dict[str, str]:
    """Name and content of each file, without SQLite's index of its log (it holds no data)."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if not file.name.endswith("-shm")
    }


async def test_it_reads_what_is_there(store_url: str) -> None:
    """On both databases."""
    await made(store_url)
    assert await peek(store_url, NOTES, notes) == ["milk"]


async def test_nothing_is_written(store_url: str) -> None:
    """Not even by a function that tries."""
    await made(store_url)
    with pytest.raises(DatabaseError):
        await peek(store_url, NOTES, lambda c: c.execute(text("DELETE FROM notes")))
    assert await peek(store_url, NOTES, notes) == ["milk"]


async def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, postgres_url: str) -> None:
    """No file, no folder, no table."""
    assert await peek(f"sqlite:///{tmp_path / 'no' / 'notes.db'}", NOTES, notes) is None
    assert files(tmp_path) == {}
    assert await peek(postgres_url, NOTES, notes) is None


async def test_no_file_beside_it_is_left(tmp_path: Path) -> None:
    """A clean database is one file before and after."""
    await made(f"sqlite:///{tmp_path / 'notes.db'}")
    before = files(tmp_path)
    assert await peek(f"sqlite:///{tmp_path / 'notes.db'}", NOTES, notes) == ["milk"]
    assert files(tmp_path) == before
    assert {file.name for file in tmp_path.iterdir()} == {"notes.db"}


async def test_what_a_killed_process_left_in_its_log_is_read_and_left(tmp_path: Path) -> None:
    """The write-ahead log is part of the database."""
    path = tmp_path / "notes.db"
    await made(f"sqlite:///{path}")
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute(\"INSERT INTO notes VALUES (2, 'tea')\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    before = files(tmp_path)
    assert "notes.db-wal" in before
    assert await peek(f"sqlite:///{path}", NOTES, notes) == ["milk", "tea"]
    assert files(tmp_path) == before


async def test_beside_a_process_that_works_on_it_both_go_on(store_url: str) -> None:
    """It waits for nobody, and nobody for it."""
    database = await Database.open(store_url, NOTES)
    await database.write(lambda c: c.execute(text("INSERT INTO notes VALUES (1, 'milk')")))
    assert await peek(store_url, NOTES, notes) == ["milk"]
    await database.write(lambda c: c.execute(text("INSERT INTO notes VALUES (2, 'tea')")))
    assert await peek(store_url, NOTES, notes) == ["milk", "tea"]
    await database.close()


async def test_an_older_schema_is_read_as_it_will_be_and_stays_old(tmp_path: Path) -> None:
    """Migrated in a copy."""
    url = f"sqlite:///{tmp_path / 'notes.db'}"
    await made(url)
    before = files(tmp_path)
    assert await peek(url, NEWER, lengths) == [4]
    assert await peek(url, NEWER, notes, any_schema=True) == ["milk"]
    assert files(tmp_path) == before


async def test_an_older_schema_on_a_server_is_refused(postgres_url: str) -> None:
    """But what every schema has can be read."""
    await made(postgres_url)
    with pytest.raises(StateError, match="schema 0001"):
        await peek(postgres_url, NEWER, lengths)
    assert await peek(postgres_url, NEWER, notes, any_schema=True) == ["milk"]


async def test_what_can_not_be_used_is_refused_and_left(tmp_path: Path, store_url: str) -> None:
    """As a start would refuse it: newer, another's, damaged."""
    await (await Database.open(store_url, NEWER)).close()
    with pytest.raises(SchemaTooNewError):
        await peek(store_url, NOTES, notes)
    with pytest.raises(ForeignDatabaseError):
        await peek(store_url, NEWER, notes, store="other")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "notes.db").write_bytes(b"a letter to my mother\n" * 500)
    before = files(broken)
    with pytest.raises(DatabaseError) as caught:
        await peek(f"sqlite:///{broken / 'notes.db'}", NOTES, notes)
    assert caught.value.exit_code == 2
    assert files(broken) == before


async def test_odd_names_are_only_names(tmp_path: Path) -> None:
    """A path is no pattern and no query."""
    folder = tmp_path / "50% of? #1"
    folder.mkdir()
    await made(f"sqlite:///{tmp_path / 'notes.db'}")
    shutil.move(tmp_path / "notes.db", folder / "notes.db")
    url = URL.create("sqlite", database=str(folder / "notes.db")).render_as_string()
    assert await peek(url, NOTES, notes) == ["milk"]
