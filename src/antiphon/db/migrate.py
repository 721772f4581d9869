"""The migration runner: brings a database to the newest revision in a folder of Alembic scripts.

Each store keeps its own folder of revisions and owns its whole database; a database that is
already current is recognised without loading Alembic, which keeps starts fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, inspect, text

from antiphon.crash import crash_point
from antiphon.errors import SchemaTooNewError


def head(migrations: Path) -> str:
    """The newest revision: files are named `NNNN_what.py` and their ids are `NNNN`."""
    return max(path.name[:4] for path in migrations.glob("[0-9][0-9][0-9][0-9]_*.py"))


def upgrade(engine: Engine, migrations: Path) -> None:
    """Runs every revision that `engine`'s database has not seen yet, each in a transaction.

    Raises SchemaTooNewError when the database was written by a newer version."""
    newest = head(migrations)
    with engine.begin() as connection:
        current = None
        if inspect(connection).has_table("alembic_version"):
            current = connection.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar_one_or_none()
    if current == newest:
        return
    if current is not None and current > newest:
        raise SchemaTooNewError(
            f"The database has schema {current}, this Antiphon knows {newest}: it was written by "
            "a newer version. Install that version, or restore a backup made before the upgrade."
        )
    crash_point("schema.before_upgrade")
    _run(engine, migrations)
    crash_point("schema.upgraded")


def _run(engine: Engine, migrations: Path) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("version_locations", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with (
        EnvironmentContext(config, script, fn=steps) as environment,
        engine.begin() as connection,
    ):
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
        crash_point("schema.before_commit")
