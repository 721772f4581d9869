"""The migration runner: brings a database to the newest revision in a folder of Alembic scripts.

Each store keeps its own folder of revisions and owns its whole database; a database that is
already current is recognised without loading Alembic, which keeps starts fast. All that is done is
one transaction: two processes that start at once do it one after the other, and a revision that
fails leaves the database as it was.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, inspect

from antiphon.crash import crash_point
from antiphon.db import identity, postgres, sqlite
from antiphon.errors import SchemaTooNewError


def revisions(migrations: Path) -> list[str]:
    """All revisions, oldest first: files are named `NNNN_what.py` and their ids are `NNNN`."""
    return sorted(path.name[:4] for path in migrations.glob("[0-9][0-9][0-9][0-9]_*.py"))


def head(migrations: Path) -> str:
    """The newest revision."""
    return revisions(migrations)[-1]


def upgrade(
    engine: Engine, migrations: Path, *, store: str, where: str, to: str | None = None
) -> None:
    """Runs every revision that `engine`'s database has not seen yet, up to `to` (None: the newest).

    `store` is the name that the database carries, `where` how it is named to a person. Raises
    ForeignDatabaseError when it is another's, SchemaTooNewError when a newer version wrote it."""
    target = to or head(migrations)
    with engine.begin() as connection:
        dialect = connection.dialect.name
        if dialect == "sqlite":
            sqlite.probe(connection)
        else:
            postgres.lock_for_migration(connection)
        found = identity.look(connection)
        identity.check(found, store, dialect, where)
        if not found.name and found.revision is not None:
            _adopt(found, migrations, store, where)
        if found.revision is not None and found.revision > target:
            raise too_new(where, found.revision, target)
        if found.revision != target:
            crash_point("schema.before_upgrade")
            run(connection, migrations, target)
        if not found.name:
            identity.write(connection, store)
        crash_point("schema.before_commit")
    crash_point("schema.committed")


def too_new(where: str, found: str, known: str) -> SchemaTooNewError:
    """The error for a schema that a newer version made."""
    return SchemaTooNewError(
        f"{where} has schema {found}, this Antiphon knows {known}: it was written by a newer "
        "version. Install that version, or restore a backup made before the upgrade."
    )


def _adopt(found: identity.Found, migrations: Path, store: str, where: str) -> None:
    """Refuses a database without a name unless it has the tables of this store at its revision."""
    if found.revision not in revisions(migrations):
        if (found.revision or "") > head(migrations) and len(found.revision or "") == 4:
            return  # newer than we are: the caller says so
        raise identity.foreign(store, where)
    scratch = create_engine("sqlite://")
    with scratch.begin() as connection:
        run(connection, migrations, found.revision)
        expected = set(inspect(connection).get_table_names()) - {identity.VERSIONS}
    scratch.dispose()
    if not expected <= found.tables:
        raise identity.foreign(store, where)


_alembic = threading.Lock()
"""Its environment is one global of the process, and databases are opened on several threads."""


def run(connection: Connection, migrations: Path, target: str | None) -> None:
    """Runs the revisions up to `target` in the running transaction."""
    with _alembic:
        _run(connection, migrations, target)


def _run(connection: Connection, migrations: Path, target: str | None) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("version_locations", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs(target or "head", revision)

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
