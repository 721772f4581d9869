"""Looking at a database's health: whose it is, its schema, and whether its pages are whole. Changes
nothing, as `peek` does not."""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Connection, text

from antiphon.db import identity, migrate, sqlite
from antiphon.db.database import parsed_url
from antiphon.db.peek import peek


class Checkup(msgspec.Struct, frozen=True):
    """`where` names the database to a person, without a password. `revision` is its schema, None
    where there is none yet; `known` the newest that we know. `problems`: what SQLite found
    damaged (a PostgreSQL server looks after its own files)."""

    where: str
    revision: str | None
    known: str
    problems: tuple[str, ...] = ()


async def checkup(
    url: str, migrations: Path, *, most_problems: int = 3, store: str = ""
) -> Checkup:
    """Looks at the database of the store with these migrations (`store` as in `Database.open`).

    A SQLite file up to `sqlite.CHECKED_BYTES` is checked whole with its indexes, a larger one
    without (`quick_check`). Raises what `Database.open` raises."""
    parsed = parsed_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    where = str(sqlite.path_of(parsed)) if is_sqlite else parsed.render_as_string()

    def look(connection: Connection) -> Checkup:
        problems: tuple[str, ...] = ()
        if is_sqlite:
            small = sqlite.path_of(parsed).stat().st_size <= sqlite.CHECKED_BYTES
            pragma = "integrity_check" if small else "quick_check"
            rows = connection.execute(text(f"PRAGMA {pragma}({most_problems})")).scalars()
            problems = tuple(row for row in rows if row != "ok")
        return Checkup(
            where, identity.look(connection).revision, migrate.head(migrations), problems
        )

    found = await peek(url, migrations, look, any_schema=True, store=store)
    return found or Checkup(where, None, migrate.head(migrations))
