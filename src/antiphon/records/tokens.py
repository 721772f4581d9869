"""The control plane's tokens as rows, by the hash of each: made, listed, revoked, looked up. One
function, one statement of a transaction; the tokens themselves are never here."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from antiphon.records.schema import tokens


class TokenRow(msgspec.Struct, frozen=True):
    """One token. `surface`: whose, or `*`; `revoked_ms`: since when it is worth nothing."""

    token_id: str
    surface: str
    scopes: tuple[str, ...]
    note: str
    created_ms: int
    revoked_ms: int | None = None


def add(connection: Connection, row: TokenRow, digest: str) -> None:
    """Keeps a new token by its hash."""
    connection.execute(
        insert(tokens).values(
            token_id=row.token_id,
            surface=row.surface,
            scopes=" ".join(row.scopes),
            digest=digest,
            note=row.note,
            created_ms=row.created_ms,
        )
    )


def find(connection: Connection, digest: str) -> TokenRow | None:
    """The token with this hash, revoked or not."""
    row = connection.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
    return None if row is None else _as_token(row)


def list_all(connection: Connection) -> tuple[TokenRow, ...]:
    """All tokens, the oldest first."""
    rows = connection.execute(select(tokens).order_by(tokens.c.created_ms, tokens.c.token_id))
    return tuple(_as_token(row) for row in rows)


def revoke(connection: Connection, token_id: str, now_ms: int) -> TokenRow | None:
    """Makes it worth nothing, for ever; as it then is, None where there is none. Idempotent."""
    connection.execute(
        update(tokens)
        .where(tokens.c.token_id == token_id, tokens.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
    row = connection.execute(select(tokens).where(tokens.c.token_id == token_id)).one_or_none()
    return None if row is None else _as_token(row)


def _as_token(row: Row[tuple[object, ...]]) -> TokenRow:
    return TokenRow(
        row.token_id,
        row.surface,
        tuple(row.scopes.split()),
        row.note,
        row.created_ms,
        row.revoked_ms,
    )
