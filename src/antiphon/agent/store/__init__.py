"""The agent's own tables, one file per noun: plain functions over a SQLAlchemy `Connection`.

What must be one transaction stands in one function (or in one `Database.write` of several).
Nothing here knows of sockets, engines or tasks.
"""

from __future__ import annotations

from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
"""The folder of this store's Alembic revisions."""
