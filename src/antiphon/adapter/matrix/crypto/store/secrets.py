"""Named secrets (private identity keys, the key of the backup), sealed."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import put
from antiphon.adapter.matrix.crypto.store.schema import secret


def get(connection: Connection, name: str) -> str | None:
    """One, sealed."""
    statement = select(secret.c.sealed).where(secret.c.name == name)
    return connection.execute(statement).scalar_one_or_none()


def save(connection: Connection, name: str, sealed: str) -> None:
    """Keeps it, in the place of the one before."""
    put(connection, secret, [{"name": name, "sealed": sealed}])


def forget(connection: Connection, name: str) -> None:
    """It is gone."""
    connection.execute(delete(secret).where(secret.c.name == name))
