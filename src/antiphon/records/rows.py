"""What all statements here share: inserting once, counting changes, requests that are answered
once. Ids and times are passed in; nothing here is random."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from antiphon.errors import PlatformError
from antiphon.records.schema import counters, requests

Mint = Callable[[], str]
"""A new random id."""

MAX_REQUEST_ID = 200
MAX_SESSION_REQUEST_ID = 128


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts `row` unless one of the table's keys is taken; says whether it did."""
    statement = _insert_new(table, connection.dialect.name)
    # Not by `rowcount`: psycopg does not tell it here.
    return connection.execute(statement, row).first() is not None


@cache
def _insert_new(table: Table, dialect_name: str) -> Any:
    """The statement, which costs more to build than to run."""
    dialect = sqlite if dialect_name == "sqlite" else postgresql
    statement = dialect.insert(table).on_conflict_do_nothing()
    return statement.returning(*table.primary_key)


def stale(what: str) -> PlatformError:
    """The error for a change to something that somebody else has changed meanwhile."""
    return PlatformError(f"{what} was changed meanwhile; look at it again.", code="stale")


def check_version(what: str, found: int, expected: int | None) -> None:
    """Raises PlatformError `stale` where `found` is not the version that a change was made for
    (None: any)."""
    if expected is not None and found != expected:
        raise stale(what)


# --- counters ---------------------------------------------------------------------------------


def bump(connection: Connection, name: str, now_ms: int) -> None:
    """Raises a counter, to the time where that is more: so that no value ever comes twice, also
    not where an older copy of the database was put back."""
    if insert_new(connection, counters, {"name": name, "value": now_ms}):
        return
    value = counters.c.value
    connection.execute(
        update(counters)
        .where(counters.c.name == name)
        .values(value=case((value < now_ms, now_ms), else_=value + 1))
    )


def counts(connection: Connection, *names: str) -> tuple[int, ...]:
    """The counters of these names; 0 for one that was never raised."""
    rows = connection.execute(
        select(counters.c.name, counters.c.value).where(counters.c.name.in_(names))
    )
    found = {row.name: int(row.value) for row in rows}
    return tuple(found.get(name, 0) for name in names)


# --- requests ---------------------------------------------------------------------------------


def once(
    connection: Connection,
    surface: str,
    request_id: str,
    body: tuple[Any, ...],
    now_ms: int,
    do: Callable[[], Any],
) -> Any:
    """What `do` gave when this was first asked for under `request_id`; asked again, nothing is
    done.

    `do` gives a JSON value without anything personal in it, for it is kept; of `body` only a hash
    is. Raises PlatformError `conflict` where another `body` came under this id, and what `do`
    raises, which then may be asked again."""
    if not 0 < len(request_id) <= MAX_REQUEST_ID:
        raise PlatformError(
            f"The name of a request has 1 to {MAX_REQUEST_ID} characters.", code="bad_value"
        )
    digest = hashlib.sha256(msgspec.json.encode((request_id, *body))).hexdigest()
    key = {"surface": surface, "request_id": request_id}
    # First the row: another process that is asked the same waits for this transaction.
    row = {**key, "body_hash": digest, "answer": "null", "at_ms": now_ms}
    if insert_new(connection, requests, row):
        answer = do()
        if answer is not None:
            text = msgspec.json.encode(answer).decode()
            connection.execute(update(requests).filter_by(**key).values(answer=text))
        return answer
    known = connection.execute(
        select(requests.c.body_hash, requests.c.answer).filter_by(**key)
    ).one()
    if known.body_hash != digest:
        raise PlatformError("Something else was asked for under this name before.", code="conflict")
    return msgspec.json.decode(known.answer)
