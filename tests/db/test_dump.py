"""A database taken out as values and put back: the same on both databases, of one moment, in the
schema that it has, and forward from there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNAL
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.core.ids import UserId
from antiphon.db import Database, load
from antiphon.db.database import store_name
from antiphon.db.dump import Dump, Rows, decode, dump, encode
from antiphon.errors import DatabaseError, ForeignDatabaseError, SchemaTooNewError, StateError
from antiphon.testing.databases import KINDS, fresh_database
from antiphon.testing.postgres import PostgresServer

NOTES = Path(__file__).parent / "notes" / "migrations"
NEWER = Path(__file__).parent / "newer" / "notes" / "migrations"
STORE = store_name(NOTES)


@pytest.fixture(params=KINDS)
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A second fresh database of each kind."""

    def server() -> PostgresServer:
        found = request.getfixturevalue("postgres")
        assert isinstance(found, PostgresServer)
        return found

    with fresh_database(request.param, tmp_path, server, "other") as url:
        yield url


def nothing(_: Connection) -> None:
    return


async def put(taken: Dump, url: str, migrations: Path, store: str, folder: Path) -> None:
    """Puts a dump into a database of either kind."""
    if url.startswith("sqlite"):
        new = folder / "new.db"
        await load.build(taken, new, migrations, nothing, store=store)
        load.install(new, Path(url.removeprefix("sqlite:///")))
    else:
        await load.replace(taken, url, migrations, nothing, lambda *_: None, store=store)


async def taken_from(url: str, migrations: Path) -> Dump:
    found = await dump(url, migrations)
    assert found is not None
    return decode(encode(found))


async def write(url: str, migrations: Path, *statements: str) -> None:
    database = await Database.open(url, migrations)
    for statement in map(text, statements):
        await database.write(partial(Connection.execute, statement=statement))
    await database.close()


ROOM = (
    "INSERT INTO room (room_id, membership, encrypted, inviter, updated_ms, seen)"
    " VALUES ('!r:x', 'join', true, NULL, 1790000000000, 'ü 😀 ''quoted''')"
)


async def test_a_real_store_moves_between_the_databases(
    store_url: str, other_url: str, tmp_path: Path
) -> None:
    """Text, numbers above 32 bits, booleans and NULL come out as they went in; twice in a row."""
    await write(store_url, JOURNAL, ROOM)
    await (await Journal.open(store_url, UserId("@bot:x"), "DEVICE")).close()
    before = await taken_from(store_url, JOURNAL)
    (room,) = before.rows("room")
    assert (room["encrypted"], room["inviter"], room["updated_ms"]) == (True, None, 1790000000000)
    for _ in range(2):
        await put(before, other_url, JOURNAL, before.store, tmp_path)
        assert await taken_from(other_url, JOURNAL) == before
    journal = await Journal.open(other_url, UserId("@bot:x"), "DEVICE")
    assert journal.epoch == 2
    await journal.close()


async def test_an_older_dump_goes_forward(store_url: str, other_url: str, tmp_path: Path) -> None:
    """It is loaded into the schema that it is of, and upgraded with its rows."""
    await write(store_url, NOTES, "INSERT INTO notes VALUES (1, 'milk')")
    await put(await taken_from(store_url, NOTES), other_url, NEWER, STORE, tmp_path)
    found = await taken_from(other_url, NEWER)
    assert found.revision == "0003"
    assert found.rows("notes") == [{"id": 1, "note": "milk", "length": 4}]


async def test_a_newer_dump_is_refused(store_url: str, other_url: str, tmp_path: Path) -> None:
    """And what is there stays."""
    await write(store_url, NEWER)
    await write(other_url, NOTES, "INSERT INTO notes VALUES (7, 'mine')")
    newer = await taken_from(store_url, NEWER)
    with pytest.raises(SchemaTooNewError, match="0003"):
        await put(newer, other_url, NOTES, STORE, tmp_path)
    assert (await taken_from(other_url, NOTES)).count("notes") == 1


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (Dump(STORE, "0001", (Rows("nothing", ("id",), [[1]]),)), StateError),
        (Dump(STORE, "0001", (Rows("notes", ("id", "no"), [[1, 2]]),)), StateError),
        (
            Dump(STORE, "0001", (Rows("notes", ("id", "note"), [[1, None], [1, None]]),)),
            DatabaseError,
        ),
        (Dump("another", "0001", ()), ForeignDatabaseError),
        (Dump(STORE, "0000", ()), ForeignDatabaseError),
    ],
)
async def test_what_does_not_fit_changes_nothing(
    broken: Dump, error: type[Exception], other_url: str, tmp_path: Path
) -> None:
    """All or nothing, on both databases."""
    await write(other_url, NOTES, "INSERT INTO notes VALUES (7, 'mine')")
    with pytest.raises(error):
        await put(broken, other_url, NOTES, STORE, tmp_path)
    assert (await taken_from(other_url, NOTES)).rows("notes") == [{"id": 7, "note": "mine"}]


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"\xff", b'{"store": 1}'])
def test_rubbish_is_no_dump(rubbish: bytes) -> None:
    with pytest.raises(StateError):
        decode(rubbish)


def test_a_row_of_another_width_is_no_dump() -> None:
    with pytest.raises(StateError):
        decode(encode(Dump(STORE, "0001", (Rows("notes", ("id", "note"), [[1]]),))))


async def test_where_there_is_nothing_there_is_no_dump(store_url: str, tmp_path: Path) -> None:
    """No database is made by looking."""
    assert await dump(store_url, NOTES) is None
    assert await dump(f"sqlite:///{tmp_path / 'none.db'}", NOTES) is None
    assert not (tmp_path / "none.db").exists()


async def test_a_dump_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process commits between two tables is not in it, also when the database was
    closed as the dump began."""
    path = tmp_path / "store.db"
    url = f"sqlite:///{path}"
    await write(url, JOURNAL, ROOM)
    real = Connection.execute

    def execute(self: Connection, statement: object, *args: object, **more: object) -> object:
        if "FROM room" in str(statement):
            with sqlite3.connect(path) as another:
                another.execute("DELETE FROM room")
        return real(self, statement, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Connection, "execute", execute)
    assert (await taken_from(url, JOURNAL)).count("room") == 1
    monkeypatch.undo()
    assert (await taken_from(url, JOURNAL)).count("room") == 0


async def test_an_installed_database_takes_nothing_of_the_old_one_along(tmp_path: Path) -> None:
    """Not even a log that a killed process left beside it."""
    old, new = tmp_path / "store.db", tmp_path / "new.db"
    await write(f"sqlite:///{old}", NOTES, "INSERT INTO notes VALUES (1, 'old')")
    holder = sqlite3.connect(old)
    holder.execute("INSERT INTO notes VALUES (2, 'in the log')")
    holder.commit()
    assert (tmp_path / "store.db-wal").stat().st_size
    taken = Dump(STORE, "0001", (Rows("notes", ("id", "note"), [[3, "new"]]),))
    await load.build(taken, new, NOTES, nothing, store=STORE)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("new")] == ["new.db"]
    assert new.stat().st_mode & 0o777 == 0o600
    load.install(new, old)
    assert (await taken_from(f"sqlite:///{old}", NOTES)).rows("notes") == [{"id": 3, "note": "new"}]
    holder.close()


async def test_the_present_is_carried_over_in_the_same_transaction(postgres_url: str) -> None:
    """What was there is read before it goes, and a failure leaves it."""
    await write(postgres_url, NOTES, "INSERT INTO notes VALUES (1, 'old')")
    taken = Dump(STORE, "0001", (Rows("notes", ("id", "note"), [[2, "new"]]),))

    def carry(connection: Connection) -> str:
        return str(connection.execute(text("SELECT note FROM notes")).scalar_one())

    def finish(connection: Connection, carried: str | None) -> None:
        connection.execute(text("INSERT INTO notes VALUES (3, :note)"), {"note": carried})

    def fail(connection: Connection, carried: str | None) -> None:
        finish(connection, carried)
        raise StateError("no")

    with pytest.raises(StateError):
        await load.replace(taken, postgres_url, NOTES, carry, fail, store=STORE)
    assert [row["note"] for row in (await taken_from(postgres_url, NOTES)).rows("notes")] == ["old"]
    await load.replace(taken, postgres_url, NOTES, carry, finish, store=STORE)
    found = (await taken_from(postgres_url, NOTES)).rows("notes")
    assert [row["note"] for row in found] == ["new", "old"]
