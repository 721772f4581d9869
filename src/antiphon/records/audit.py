"""Statements of the audit log: who changed what and when. Never what was said, never the value of a
setting that is free text; and of a person who was erased, not the id."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, or_, select, update

from antiphon.core.ids import UserId
from antiphon.records.pages import Cut, Page, read_page
from antiphon.records.schema import audit
from antiphon.records.values import AuditRecord

ERASED = "(erased)"
"""What stands where the id of a person stood who was erased."""

MAX_SUBJECT = 600


def note(
    connection: Connection,
    surface: str,
    actor: str,
    action: str,
    subject: str,
    now_ms: int,
    detail: dict[str, Any] | None = None,
) -> None:
    """Adds a line, in the transaction of the change."""
    row = {
        "at_ms": now_ms,
        "surface": surface,
        "actor": actor,
        "action": action,
        "subject": subject[:MAX_SUBJECT],
        "detail": msgspec.json.encode(detail or {}).decode(),
    }
    connection.execute(insert(audit), row)


def erase(connection: Connection, surface: str, user_id: UserId) -> None:
    """Takes a person's id out of the log; the lines stay."""
    for column in (audit.c.actor, audit.c.subject):
        connection.execute(
            update(audit)
            .where(audit.c.surface == surface, column == user_id)
            .values({column: ERASED})
        )


def of_person(connection: Connection, surface: str, user_id: UserId) -> list[AuditRecord]:
    """What a person changed, and what was changed about them, oldest first."""
    rows = connection.execute(
        select(audit)
        .where(audit.c.surface == surface)
        .where(or_(audit.c.actor == user_id, audit.c.subject == user_id))
        .order_by(audit.c.seq)
    )
    return [_record(row) for row in rows]


def page(connection: Connection, surface: str | None, cut: Cut) -> Page[AuditRecord]:
    """The log of a surface (None: of all), newest first."""
    statement = select(audit)
    if surface is not None:
        statement = statement.where(audit.c.surface == surface)
    return read_page(connection, statement, [audit.c.seq], cut, _record, newest_first=True)


def _record(row: Row[Any]) -> AuditRecord:
    return AuditRecord(
        seq=row.seq,
        at_ms=row.at_ms,
        surface=row.surface,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        detail=msgspec.json.decode(row.detail),
    )
