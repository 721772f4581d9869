"""The journal's migrations make exactly the tables that the code uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.journal.schema import metadata
from antiphon.db import Database


async def test_migrations_and_tables_agree(store_url: str) -> None:
    """On both databases."""
    await (await Database.open(store_url, MIGRATIONS)).close()
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
