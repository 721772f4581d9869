"""Statements of the control plane's tokens: only the hash of one is kept. A token is random and
long, so that a plain hash of it can't be guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from antiphon.errors import PlatformError
from antiphon.records.pages import Cut, Page, read_page
from antiphon.records.schema import tokens


class TokenRecord(msgspec.Struct, frozen=True):
    """A token as it is listed: never the token itself. `surface` is `*` for an operator;
    `revoked_ms`: since when it is worth nothing."""

    token_id: str
    surface: str
    scopes: tuple[str, ...]
    note: str
    created_ms: int
    revoked_ms: int | None = None


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def make(
    connection: Connection,
    token_id: str,
    token: str,
    *,
    surface: str,
    scopes: Iterable[str],
    note: str,
    now_ms: int,
) -> TokenRecord:
    """Makes `token` (at least 128 random bits) count."""
    connection.execute(
        insert(tokens).values(
            token_id=token_id,
            surface=surface,
            scopes=" ".join(scopes),
            digest=digest_of(token),
            note=note,
            created_ms=now_ms,
        )
    )
    return _record(connection.execute(select(tokens).where(tokens.c.token_id == token_id)).one())


def known(connection: Connection, token: str) -> TokenRecord | None:
    """Whose token this is or was: one that was revoked is known, too."""
    row = connection.execute(
        select(tokens).where(tokens.c.digest == digest_of(token))
    ).one_or_none()
    return None if row is None else _record(row)


def revoke(connection: Connection, token_id: str, now_ms: int) -> TokenRecord:
    """It counts no more, for ever. Idempotent. Raises PlatformError `unknown_token`."""
    connection.execute(
        update(tokens)
        .where(tokens.c.token_id == token_id, tokens.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
    row = connection.execute(select(tokens).where(tokens.c.token_id == token_id)).one_or_none()
    if row is None:
        raise PlatformError("There is no such token.", code="unknown_token")
    return _record(row)


def page(connection: Connection, cut: Cut) -> Page[TokenRecord]:
    """All of them, revoked ones too, the oldest first."""
    keys = [tokens.c.created_ms, tokens.c.token_id]
    return read_page(connection, select(tokens), keys, cut, _record)


def _record(row: Row[Any]) -> TokenRecord:
    return TokenRecord(
        token_id=row.token_id,
        surface=row.surface,
        scopes=tuple(row.scopes.split()),
        note=row.note,
        created_ms=row.created_ms,
        revoked_ms=row.revoked_ms,
    )
