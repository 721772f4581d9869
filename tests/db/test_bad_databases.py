"""Databases that can't be used: refused when they are opened, with one clear sentence and exit code
2, and left as they were; and failing later, with nothing half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from antiphon.db import Database, database
from antiphon.errors import DatabaseError, ForeignDatabaseError, SettingsError, StateError
from antiphon.testing.databases import locked
from antiphon.testing.disk import SmallDisk, limit_files

NOTES = Path(__file__).parent / "notes" / "migrations"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def add(connection: Connection, note: str = "milk", times: int = 1) -> None:
    connection.execute(
        text("INSERT INTO notes (note) VALUES (:note)"), [{"note": note} for _ in range(times)]
    )


def stored(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT note FROM notes ORDER BY id")).scalars())


async def made(path: Path, rows: int = 1, note: str = "milk") -> None:
    """A good database with some notes."""
    opened = await Database.open(url(path), NOTES)
    await opened.write(lambda connection: add(connection, note, rows))
    await opened.close()


async def refused(path: Path, error: type[StateError] = DatabaseError) -> str:
    """The sentence with which it is refused; the exit code is 2."""
    with pytest.raises(error) as caught:
        await Database.open(url(path), NOTES)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.message
    return caught.value.message


def no_database(path: Path) -> None:
    path.write_bytes(b"this is a letter to my mother\n" * 500)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xde\xad" * 4_096)


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 100)


def zeroed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(bytes(path.stat().st_size - 4_096))


@pytest.mark.parametrize("harm", [no_database, overwritten, cut_short, zeroed])
async def test_a_damaged_file_is_refused_and_left_as_it_is(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    """To the byte, so that a person may still save what is in it."""
    path = tmp_path / "notes.db"
    await made(path, rows=2_000)
    harm(path)
    before = path.read_bytes()
    says = await refused(path)
    assert "damaged" in says
    assert "backup" in says
    assert path.read_bytes() == before


async def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """No table, no mark, no journal mode of ours gets into it."""
    path = tmp_path / "browser.db"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE history (url TEXT)")
    theirs.close()
    before = path.read_bytes()
    assert "something else" in await refused(path, ForeignDatabaseError)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"browser.db"}


async def test_a_full_disk_is_refused_and_works_again_when_there_is_room(disk: SmallDisk) -> None:
    """Also where the database was there before, and what is in it stays."""
    path = disk.path / "notes.db"
    disk.fill()
    assert "full" in await refused(path)
    disk.free()
    await made(path)
    disk.fill()
    assert "full" in await refused(path)
    disk.free()
    await made(path)


async def test_a_locked_database_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the busy time-out; a lock that is given up before that costs nothing."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
    path = tmp_path / "notes.db"
    await made(path)
    with locked(path):
        assert "locked" in await refused(path)
    await made(path)


async def test_a_disk_that_takes_no_writes_is_refused(disk: SmallDisk) -> None:
    """A database that can be read is not enough."""
    path = disk.path / "notes.db"
    await made(path)
    disk.read_only(True)
    await refused(path)
    await refused(disk.path / "other.db")
    disk.read_only(False)
    await made(path)


@pytest.mark.parametrize("name", ["no/folder/notes.db", "."])
async def test_a_path_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    """A folder that is not there, and a folder instead of a file."""
    assert "can't be opened" in await refused(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "sqlite:///a?mode=ro"]
)
async def test_a_wrong_address_is_a_wrong_setting(wrong: str) -> None:
    """With what is allowed."""
    with pytest.raises(SettingsError, match=r"sqlite:///"):
        await Database.open(wrong, NOTES)


@pytest.mark.parametrize(
    ("wrong", "code", "says"),
    [
        ("nowhere", 2, "does not let us in"),
        ("", 1, "can't be reached. Is it running?"),
    ],
)
async def test_a_server_that_is_away_may_come_and_one_that_refuses_will_not(
    postgres_url: str, tmp_path: Path, wrong: str, code: int, says: str
) -> None:
    """Exit code 1: whoever started us may try again. 2: somebody must change something."""
    pytest.importorskip("psycopg")
    host = postgres_url.partition("host=")[2]
    address = (
        f"postgresql://postgres:secret@/{wrong}?host={host}"
        if wrong
        else f"postgresql://postgres:secret@/x?host={tmp_path}"
    )
    with pytest.raises(DatabaseError) as caught:
        await Database.open(address, NOTES)
    assert caught.value.exit_code == code
    assert says in caught.value.message
    assert "secret" not in caught.value.message


async def tried(opened: Database, notes: list[str]) -> tuple[list[str], list[str]]:
    """Writes each by itself: those that were acknowledged, and what was said of the others."""
    acknowledged, refusals = [], []
    for note in notes:
        try:
            await opened.write(partial(add, note=note))
            acknowledged.append(note)
        except DatabaseError as error:
            refusals.append(error.message)
    return acknowledged, refusals


async def check(path: Path, opened: Database, expected: list[str]) -> None:
    """What was acknowledged is what there is, now and after another start."""
    assert await opened.read(stored) == expected
    await opened.close()
    opened = await Database.open(url(path), NOTES)
    assert await opened.read(stored) == expected
    await opened.close()


async def test_a_disk_that_fills_up_later_saves_nothing_half(disk: SmallDisk) -> None:
    """What was acknowledged is there, what was refused is not, and it goes on afterwards."""
    path = disk.path / "notes.db"
    opened = await Database.open(url(path), NOTES)
    expected, _ = await tried(opened, [f"before {n}" for n in range(20)])
    disk.fill()
    kept, refusals = await tried(opened, [f"{n} {'x' * 9_000}" for n in range(20)])
    assert refusals
    assert all("The disk is full" in one for one in refusals)
    expected += kept
    disk.free()
    kept, refusals = await tried(opened, [f"after {n}" for n in range(20)])
    assert not refusals
    await check(path, opened, expected + kept)


async def test_writes_that_the_disk_fails_save_nothing_half(tmp_path: Path) -> None:
    """The same for I/O errors."""
    path = tmp_path / "notes.db"
    opened = await Database.open(url(path), NOTES)
    expected, _ = await tried(opened, ["before"])
    largest = max(file.stat().st_size for file in tmp_path.glob("notes.db*"))
    limit_files(0, largest + 10_000)
    try:
        kept, refusals = await tried(opened, [f"{n} {'x' * 3_000}" for n in range(20)])
    finally:
        limit_files(0, None)
    assert refusals
    assert all("The disk" in one for one in refusals)
    expected += kept
    kept, refusals = await tried(opened, ["after"])
    assert not refusals
    await check(path, opened, expected + kept)
