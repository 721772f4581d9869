"""Whose database it is: each store writes its name into its database when it makes it, and no
store opens another's. In SQLite the name is the `application_id` (a number made of it), in
PostgreSQL the comment of the table `alembic_version`; both are in a copy or a dump too."""

from __future__ import annotations

import zlib

import msgspec
from sqlalchemy import Connection, inspect, text

from antiphon.errors import ForeignDatabaseError

VERSIONS = "alembic_version"


class Found(msgspec.Struct, frozen=True):
    """What a database says of itself. `name`: of its store (0 or empty: it does not say);
    `revision`: of its schema (None: none yet); `tables`: of anybody, without the version's."""

    name: int | str
    revision: str | None
    tables: frozenset[str]

    @property
    def is_new(self) -> bool:
        """Nobody has used it yet."""
        return not self.name and self.revision is None and not self.tables


def application_id(store: str) -> int:
    """The number that stands for `store` in a SQLite file: positive, 31 bits, never 0."""
    return (zlib.crc32(f"antiphon {store}".encode()) & 0x7FFFFFFF) or 1


def label(store: str, dialect: str) -> int | str:
    """What `Found.name` is in a database of `store`."""
    return application_id(store) if dialect == "sqlite" else f"antiphon {store}"


def look(connection: Connection) -> Found:
    """Reads it; changes nothing."""
    inspector = inspect(connection)
    tables = frozenset(inspector.get_table_names())
    revision: str | None = None
    name: int | str = ""
    if VERSIONS in tables:
        revision = connection.execute(
            text(f"SELECT version_num FROM {VERSIONS}")  # noqa: S608 - our own constant
        ).scalar_one_or_none()
    if connection.dialect.name == "sqlite":
        name = connection.execute(text("PRAGMA application_id")).scalar_one()
    elif VERSIONS in tables:
        name = inspector.get_table_comment(VERSIONS)["text"] or ""
    return Found(name, revision, tables - {VERSIONS})


def write(connection: Connection, store: str) -> None:
    """Writes the name of `store` into its database, in the running transaction."""
    name = label(store, connection.dialect.name)
    if isinstance(name, int):
        connection.execute(text(f"PRAGMA application_id = {name}"))
    else:
        connection.execute(text(f"COMMENT ON TABLE {VERSIONS} IS '{name}'"))


def check(found: Found, store: str, dialect: str, where: str) -> None:
    """Raises ForeignDatabaseError where the database says that it is not `store`'s, or holds
    tables and does not say that it is anybody's."""
    if found.name == label(store, dialect) or found.is_new:
        return
    if not found.name and found.revision is not None:
        return  # made before names were written: the caller looks at the tables
    raise foreign(store, where)


def foreign(store: str, where: str) -> ForeignDatabaseError:
    """The error for somebody else's database."""
    return ForeignDatabaseError(
        f"{where} is a database of something else, not Antiphon's {store!r} store, and was left "
        "as it is. Give each store a database of its own, or restore the right file."
    )
