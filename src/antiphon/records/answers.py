"""Answers of the control plane that are kept under the name of their request, in the transaction
that made the change: asked for again, the answer is told again and nothing is changed. The rows are
those of `requests`; their names begin with `http:`, so that they meet no other's."""

from __future__ import annotations

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from antiphon.errors import PlatformError
from antiphon.records.schema import requests

PREFIX = "http:"


def claim(connection: Connection, surface: str, key: str, digest: str, now_ms: int) -> str | None:
    """Takes the name `key` for the request whose content has this `digest`: None where it is ours
    now (`keep` must follow in this transaction), else the answer that was kept. Waits for another
    transaction that holds the name. Raises PlatformError `conflict` where it had another content.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    row = {"surface": surface, "request_id": PREFIX + key}
    inserted = dialect.insert(requests).values(**row, body_hash=digest, answer="", at_ms=now_ms)
    ours = connection.execute(
        inserted.on_conflict_do_nothing().returning(requests.c.request_id)
    ).first()
    if ours is not None:
        return None
    kept = connection.execute(
        select(requests.c.body_hash, requests.c.answer).filter_by(**row)
    ).one()
    if kept.body_hash != digest:
        raise PlatformError(
            "Another request was made under this Idempotency-Key. Take a new one.", code="conflict"
        )
    return str(kept.answer)


def keep(connection: Connection, surface: str, key: str, answer: str) -> None:
    """Keeps the answer under the name that was claimed."""
    connection.execute(
        update(requests).filter_by(surface=surface, request_id=PREFIX + key).values(answer=answer)
    )
