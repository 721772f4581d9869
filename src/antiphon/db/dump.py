"""A database as plain values: all rows of all tables at one moment, with the name of its store and
the revision of its schema. The same for SQLite and PostgreSQL; `load` puts it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, MetaData, select

from antiphon.db import identity
from antiphon.db.database import store_name
from antiphon.db.peek import peek
from antiphon.errors import StateError


class Rows(msgspec.Struct, frozen=True):
    """A table: the names of its columns, and its rows in that order. Values are text, numbers,
    booleans and None, and bytes as base64."""

    table: str
    columns: tuple[str, ...]
    rows: list[list[Any]]


class Dump(msgspec.Struct, frozen=True):
    """A whole database, its tables in an order in which they can be filled."""

    store: str
    revision: str
    tables: tuple[Rows, ...]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, by column; none where there is no such table."""
        return [
            dict(zip(found.columns, row, strict=True))
            for found in self.tables
            if found.table == table
            for row in found.rows
        ]

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return sum(len(found.rows) for found in self.tables if found.table == table)


_decoder = msgspec.json.Decoder(Dump)


def encode(dump: Dump) -> bytes:
    """The dump as JSON."""
    return msgspec.json.encode(dump)


def decode(data: bytes) -> Dump:
    """The dump in `data`. Raises StateError where there is none."""
    try:
        found = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"This is no dump of a database: {error}.") from error
    for rows in found.tables:
        if any(len(row) != len(rows.columns) for row in rows.rows):
            raise StateError(f"The dump of the table {rows.table!r} has rows of another width.")
    return found


async def dump(url: str, migrations: Path, *, store: str = "") -> Dump | None:
    """All that is in the database, in whatever schema it has; None where there is none, or an
    empty one. It takes no lock and may run while others write. Raises what `peek` raises."""
    name = store or store_name(migrations)
    return await peek(
        url,
        migrations,
        lambda connection: read(connection, name),
        any_schema=True,
        steady=True,
        store=store,
    )


def read(connection: Connection, store: str) -> Dump:
    """All rows, in the transaction of `connection`."""
    revision = identity.look(connection).revision
    assert revision is not None, "a database of ours has a revision"
    found = MetaData()
    found.reflect(connection)
    tables = []
    for table in found.sorted_tables:
        if table.name == identity.VERSIONS:
            continue
        rows = connection.execute(select(table).order_by(*table.primary_key))
        columns = tuple(str(column.name) for column in table.columns)
        tables.append(Rows(str(table.name), columns, [list(row) for row in rows]))
    return Dump(store, revision, tuple(tables))
