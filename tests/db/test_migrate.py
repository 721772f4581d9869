"""Schemas go forward, whole or not at all, and never on a guess."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNAL
from antiphon.agent.store import MIGRATIONS as AGENT
from antiphon.db import Database, migrate
from antiphon.db.database import store_name
from antiphon.errors import DatabaseError, ForeignDatabaseError, SchemaTooNewError
from antiphon.sdk.prototype_state import MIGRATIONS as STATE

NOTES = Path(__file__).parent / "notes" / "migrations"
NEWER = Path(__file__).parent / "newer" / "notes" / "migrations"
STORES = {"agent": AGENT, "journal": JOURNAL, "state": STATE}


def plain(url: str) -> Engine:
    """The database without anything of ours."""
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def at_first_schema(url: str, migrations: Path, *, named: bool) -> None:
    """The database as the first version left it; before names were written unless `named`."""
    engine = plain(url)
    with engine.begin() as connection:
        migrate.run(connection, migrations, "0001")
    if named:
        migrate.upgrade(engine, migrations, store=store_name(migrations), where=url, to="0001")
    engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


@pytest.mark.parametrize("named", [True, False])
async def test_an_old_schema_goes_forward_with_its_data(store_url: str, named: bool) -> None:
    """Every revision after the first is run, in order, on what is there."""
    at_first_schema(store_url, NOTES, named=named)
    engine = plain(store_url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO notes (id, note) VALUES (1, 'milk')"))
    engine.dispose()
    database = await Database.open(store_url, NEWER)
    found = await database.read(lambda c: c.execute(text("SELECT note, length FROM notes")).all())
    assert [tuple(row) for row in found] == [("milk", 4)]
    assert await database.read(tables) == {"notes", "labels", "alembic_version"}
    await database.close()


async def test_a_revision_that_fails_leaves_the_database_as_it_was(store_url: str) -> None:
    """Also what earlier revisions of the same start had done; the next start tries again."""
    database = await Database.open(store_url, NOTES)
    await database.write(lambda c: c.execute(text("INSERT INTO notes VALUES (1, 'poison')")))
    await database.close()
    with pytest.raises(DatabaseError):
        await Database.open(store_url, NEWER)
    database = await Database.open(store_url, NOTES)
    assert await database.read(tables) == {"notes", "alembic_version"}
    await database.write(lambda c: c.execute(text("UPDATE notes SET note = 'cured'")))
    await database.close()
    await (await Database.open(store_url, NEWER)).close()


async def test_a_newer_schema_is_refused_and_left_as_it_is(store_url: str) -> None:
    """The sentence says what to do; the newer version still opens it."""
    await (await Database.open(store_url, NEWER)).close()
    with pytest.raises(SchemaTooNewError, match=r"schema 0003, this Antiphon knows 0001") as caught:
        await Database.open(store_url, NOTES)
    assert caught.value.exit_code == 2
    await (await Database.open(store_url, NEWER)).close()


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("named", [True, False])
async def test_a_database_of_the_first_version_is_taken_over(
    store_url: str, store: str, named: bool
) -> None:
    """From the first schema of each store, also from before databases carried names; from then
    on it carries one."""
    at_first_schema(store_url, STORES[store], named=named)
    for _ in range(2):
        await (await Database.open(store_url, STORES[store])).close()
    other = STORES["state" if store != "state" else "agent"]
    with pytest.raises(ForeignDatabaseError):
        await Database.open(store_url, other)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("mine", "theirs"), [("agent", "journal"), ("journal", "state")])
async def test_another_stores_database_is_refused(
    store_url: str, mine: str, theirs: str, named: bool
) -> None:
    """The same revision does not make it ours, and it stays theirs."""
    at_first_schema(store_url, STORES[theirs], named=named)
    with pytest.raises(ForeignDatabaseError, match="not Antiphon's") as caught:
        await Database.open(store_url, STORES[mine])
    assert caught.value.exit_code == 2
    await (await Database.open(store_url, STORES[theirs])).close()


@pytest.mark.parametrize("revision", ["", "0001", "1975ea83b712"])
async def test_another_programs_database_is_refused(store_url: str, revision: str) -> None:
    """Whether it uses Alembic too or not; nothing is added to it."""
    engine = plain(store_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
        if revision:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
        before = tables(connection)
    with pytest.raises(ForeignDatabaseError):
        await Database.open(store_url, NOTES)
    with engine.connect() as connection:
        assert tables(connection) == before
    engine.dispose()
