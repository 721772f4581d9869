"""Statements of the rules: a surface's snapshot of roles and wide settings, and the counters that
say whether it has changed. Whoever changes what is in it calls `bump_rules` in the same
transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, or_, select

from antiphon.core.chat_settings import LIMITS, SETTINGS
from antiphon.core.ids import UserId
from antiphon.core.people import Grant, Role
from antiphon.core.rules import Rules, SetValue
from antiphon.core.scopes import Scope
from antiphon.records.rows import bump, counts
from antiphon.records.schema import erasures, roles, settings

_ALL = "rules"


def _counter(surface: str) -> str:
    return f"{_ALL}:{surface}" if surface else _ALL


def bump_rules(connection: Connection, surface: str, now_ms: int) -> None:
    """The rules of this surface have changed (empty: those of all)."""
    bump(connection, _counter(surface), now_ms)


def version(connection: Connection, surface: str) -> str:
    """Names the rules of a surface as they are; never the same for others."""
    everywhere, here = counts(connection, _ALL, _counter(surface))
    return f"{everywhere}.{here}"


def read(connection: Connection, surface: str, base: Mapping[str, Any]) -> Rules:
    """The snapshot. The version is read first: what is newer is seen again then, never missed."""
    now = version(connection, surface)
    wide = and_(settings.c.scope.in_(("surface", "room")), settings.c.surface == surface)
    limits = and_(
        settings.c.scope == "user", settings.c.surface == surface, settings.c.key.in_(LIMITS)
    )
    found = connection.execute(
        select(settings)
        .where(or_(settings.c.scope == "platform", wide, limits))
        .order_by(settings.c.scope, settings.c.subject, settings.c.key)
    ).all()
    granted = connection.execute(
        select(roles).where(roles.c.surface == surface).order_by(roles.c.pattern)
    ).all()
    erased = connection.execute(
        select(erasures.c.user_id, erasures.c.at_ms)
        .where(erasures.c.surface == surface)
        .order_by(erasures.c.at_ms, erasures.c.user_id)
    ).all()
    return Rules(
        version=now,
        grants=tuple(Grant(row.pattern, Role(row.role)) for row in granted),
        settings=tuple(
            SetValue(Scope(row.scope, row.surface, row.subject), row.key, _value(row))
            for row in found
            if row.key in SETTINGS
        ),
        base=dict(base),
        erased=tuple((UserId(row.user_id), row.at_ms) for row in erased),
    )


def _value(row: Any) -> Any:
    value = msgspec.json.decode(row.value)
    return tuple(value) if isinstance(value, list) else value
