"""Databases: engine, pragmas, locks and migrations, the same for SQLite and PostgreSQL."""

from antiphon.db.database import Database, database_url
from antiphon.db.lock import StateLock

__all__ = ["Database", "StateLock", "database_url"]
