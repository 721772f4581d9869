"""Statements that remove what is old enough: usage, the audit log, answered requests, erasures."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, func, select

from antiphon.records.schema import audit, erasures, requests, usage
from antiphon.records.values import Pruned


class Horizon(msgspec.Struct, frozen=True):
    """Rows from before these times (wall clock, milliseconds) may go; None: all stay."""

    usage_ms: int | None = None
    audit_ms: int | None = None
    requests_ms: int | None = None
    erasures_ms: int | None = None


def prune(connection: Connection, horizon: Horizon) -> Pruned:
    """Removes what is older, on all surfaces."""
    return Pruned(
        usage=_older(connection, usage, horizon.usage_ms),
        audit=_older(connection, audit, horizon.audit_ms),
        requests=_older(connection, requests, horizon.requests_ms),
        erasures=_older(connection, erasures, horizon.erasures_ms),
    )


def _older(connection: Connection, table: Table, before_ms: int | None) -> int:
    if before_ms is None:
        return 0
    old: Any = table.c.at_ms < before_ms
    number = connection.execute(select(func.count()).select_from(table).where(old)).scalar_one()
    if number:
        connection.execute(delete(table).where(old))
    return int(number)
