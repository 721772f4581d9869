"""Answers of the control plane that are kept under the name of their request, in the transaction
that made the change: asked for again, the answer is told again and nothing is changed. The rows are
those of `requests`; their names begin with `http:`, so that they meet no other's."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, or_, select, update

from antiphon.errors import PlatformError
from antiphon.records.rows import insert_new
from antiphon.records.schema import requests

PREFIX = "http:"


def claim(connection: Connection, surface: str, key: str, digest: str, now_ms: int) -> str | None:
    """Takes the name `key` for the request whose content has this `digest`: None where it is ours
    now (`keep` must follow in this transaction), else the answer that was kept. Waits for another
    transaction that holds the name. Raises PlatformError `conflict` where it had another content.
    """
    row = {"surface": surface, "request_id": PREFIX + key}
    new = {**row, "body_hash": digest, "answer": "", "at_ms": now_ms}
    if insert_new(connection, requests, new):
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


def erase(connection: Connection, surface: str, texts: Sequence[str]) -> None:
    """Takes out every kept answer that holds one of `texts` (a person's id, ids of their chats).
    The names stay taken: asked for again, such a request is a conflict, for it must not be made
    again."""
    held = or_(*(requests.c.answer.contains(_inside_json(text), autoescape=True) for text in texts))
    connection.execute(
        update(requests)
        .where(requests.c.surface == surface, requests.c.request_id.startswith(PREFIX))
        .where(held)
        .values(answer="", body_hash="")
    )


def _inside_json(text: str) -> str:
    """The text as it stands in an answer: JSON inside of JSON."""
    once = msgspec.json.encode(text).decode()[1:-1]
    return msgspec.json.encode(once).decode()[1:-1]
