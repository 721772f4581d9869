"""A database behind `write` and `read`, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNAL
from antiphon.agent.store import MIGRATIONS as AGENT
from antiphon.db import Database
from antiphon.db.database import store_name
from antiphon.errors import DatabaseError
from antiphon.sdk.prototype_state import MIGRATIONS as STATE
from antiphon.testing.postgres import PostgresServer

NOTES = Path(__file__).parent / "notes" / "migrations"


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(store_url, NOTES)
    yield opened
    await opened.close()


def add(connection: Connection, note: str = "milk") -> None:
    connection.execute(text("INSERT INTO notes (note) VALUES (:note)"), {"note": note})


def count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM notes")).scalar_one())


async def test_what_was_written_is_read_and_kept(database: Database, store_url: str) -> None:
    """By the same object at once, and by the next one."""
    await database.write(add)
    assert await database.read(count) == 1
    await database.close()
    again = await Database.open(store_url, NOTES)
    assert await again.read(count) == 1
    await again.close()


async def test_a_function_that_raises_leaves_nothing(database: Database) -> None:
    """Its exception comes out as it is."""

    def half(connection: Connection) -> None:
        add(connection)
        raise LookupError("half way")

    with pytest.raises(LookupError, match="half way"):
        await database.write(half)
    assert await database.read(count) == 0


async def test_many_writes_at_once_are_all_kept(database: Database) -> None:
    """Whatever the number of threads that the store has."""
    await asyncio.gather(*(database.write(add) for _ in range(50)))
    assert await database.read(count) == 50


async def test_a_cancelled_caller_does_not_stop_its_transaction(database: Database) -> None:
    """What has begun is done whole."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        add(connection, "first")
        add(connection, "second")

    task = asyncio.create_task(database.write(slow))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert await database.write(count) == 2


async def test_a_statement_that_fails_is_a_database_error(database: Database) -> None:
    """A sentence, and the transaction is gone."""

    def wrong(connection: Connection) -> None:
        add(connection)
        connection.execute(text("SELECT nothing FROM nowhere"))

    with pytest.raises(DatabaseError, match="Nothing was saved"):
        await database.write(wrong)
    assert await database.read(count) == 0


async def test_after_close_it_refuses(database: Database) -> None:
    """And closing again is fine."""
    await database.close()
    await database.close()
    with pytest.raises(DatabaseError, match="closed"):
        await database.write(add)


async def test_processes_that_start_at_once_make_the_tables_once(store_url: str) -> None:
    """Each of them finds the whole schema, whoever was first."""
    pipe = asyncio.subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OPENS, store_url, str(AGENT)),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    for process in started:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()


OPENS = """
import asyncio, sys
from pathlib import Path
import alembic.config, alembic.runtime.environment, alembic.script
from antiphon.db import Database
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    await (await Database.open(sys.argv[1], Path(sys.argv[2]))).close()
asyncio.run(main())
"""


async def test_a_server_that_ends_the_connections_is_used_again(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """A restart of PostgreSQL costs at most one failed transaction, and nothing that was saved."""
    database = await Database.open(postgres_url, NOTES)
    await database.write(add)
    await asyncio.to_thread(postgres.disconnect_all)
    await database.write(add)
    assert await database.read(count) == 2

    def cut(connection: Connection) -> None:
        add(connection)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseError, match="Nothing was saved"):
        await database.write(cut)
    assert await database.read(count) == 2
    await database.close()


async def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """What people said is nobody else's to read, the log beside it included."""
    database = await Database.open(f"sqlite:///{tmp_path / 'new.db'}", NOTES)
    await database.write(add)
    files = list(tmp_path.glob("new.db*"))
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    await database.close()


async def test_scrub_leaves_no_copy_of_what_was_deleted(tmp_path: Path) -> None:
    """Neither in the database file nor in its log; small texts and large ones."""
    database = await Database.open(f"sqlite:///{tmp_path / 'new.db'}", NOTES)
    for note in ("CANARY", "CANARY " * 20_000):
        await database.write(partial(add, note=note))
    await database.write(lambda connection: add(connection, "stays"))

    def stored() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.glob("new.db*"))

    assert b"CANARY" in stored()
    await database.write(
        lambda connection: connection.execute(text("DELETE FROM notes WHERE note LIKE 'CANARY%'"))
    )
    assert b"CANARY" in stored()
    await database.scrub()
    assert b"CANARY" not in stored()
    assert b"stays" in stored()
    await database.close()


async def test_while_another_program_reads_it_opens_and_does_not_call_that_scrubbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted is still in the log then: `scrub` says so, and a start goes on."""
    monkeypatch.setattr("antiphon.db.database.BUSY_TIMEOUT_MS", 50)
    url = f"sqlite:///{tmp_path / 'new.db'}"
    database = await Database.open(url, NOTES)
    await database.write(add)
    with sqlite3.connect(tmp_path / "new.db") as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM notes").fetchone()
        await database.write(add)
        with pytest.raises(DatabaseError, match="still on the disk"):
            await database.scrub()
        second = await Database.open(url, NOTES)
        assert await second.read(count) == 2
        await second.close()
    other.close()
    await database.scrub()
    await database.close()


async def test_databases_that_are_made_at_once_in_one_process(tmp_path: Path) -> None:
    """Each gets its tables: what runs the migrations has one state for the whole process."""
    urls = [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(6)]
    for database in await asyncio.gather(*(Database.open(url, NOTES) for url in urls)):
        await database.write(add)
        await database.close()


def test_the_names_of_the_stores_stand() -> None:
    """They are in people's databases: a change here locks everybody out of theirs."""
    names = {store_name(folder) for folder in (AGENT, STATE, JOURNAL)}
    assert names == {"agent.store", "sdk", "adapter.matrix.journal"}
