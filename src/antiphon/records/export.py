"""All that is kept of a person, as JSON values. What they said is at the agent, not here."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, select

from antiphon.core.ids import UserId
from antiphon.core.scopes import Scope
from antiphon.records import audit, chats, roles, settings, usage
from antiphon.records.schema import chats as chat_rows
from antiphon.records.schema import erasures, users
from antiphon.records.schema import sessions as session_rows
from antiphon.records.sessions import as_session


def export_user(connection: Connection, surface: str, user_id: UserId) -> dict[str, Any]:
    """Everything here that bears the person's id: the person, their role, settings, the chats that
    are theirs alone with all sessions, each run that they asked for, and the lines of the audit log
    that name them."""
    person = connection.execute(
        select(users.c.first_seen_ms, users.c.name).where(
            users.c.surface == surface, users.c.user_id == user_id
        )
    ).one_or_none()
    erased = connection.execute(
        select(erasures.c.at_ms).where(erasures.c.surface == surface, erasures.c.user_id == user_id)
    ).scalar_one_or_none()
    role = roles.of(connection, surface, user_id)
    found = {
        "surface": surface,
        "user_id": user_id,
        "first_seen_ms": None if person is None else person.first_seen_ms,
        "name": "" if person is None else person.name,
        "role": None if role is None else role.role,
        "erased_ms": erased,
        "settings": {
            one.key: one.value
            for one in settings.records_of(connection, Scope("user", surface, user_id))
        },
        "chats": _chats(connection, surface, user_id),
        "usage": usage.of_person(connection, surface, user_id),
        "audit": audit.of_person(connection, surface, user_id),
    }
    values: dict[str, Any] = msgspec.to_builtins(found)
    return values


def _chats(connection: Connection, surface: str, user_id: UserId) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(chat_rows)
        .where(chat_rows.c.surface == surface, chat_rows.c.user_id == user_id)
        .order_by(chat_rows.c.created_ms, chat_rows.c.chat_id)
    ).all()
    return [
        {
            "chat_id": row.chat_id,
            "place": chats.place_of(row),
            "title": row.title,
            "created_ms": row.created_ms,
            "archived": row.archived_ms is not None,
            "sessions": [
                as_session(session)
                for session in connection.execute(
                    select(session_rows)
                    .where(session_rows.c.chat_id == row.chat_id)
                    .order_by(session_rows.c.number)
                )
            ],
        }
        for row in rows
    ]
