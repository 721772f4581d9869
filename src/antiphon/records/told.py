"""Statements that write down what a control plane told: chats, sessions, roles and settings as they
are there, over what was here. They check nothing and decide nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, or_, select, update

from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Grant
from antiphon.core.rules import SetValue
from antiphon.core.scopes import Scope
from antiphon.records import people
from antiphon.records.chats import place_columns, place_of
from antiphon.records.rows import insert_new
from antiphon.records.schema import chats, retired_threads, roles, sessions, settings
from antiphon.records.sessions import as_session


def chat(connection: Connection, told: Chat, now_ms: int) -> None:
    """The chat of a place, with its current session."""
    place = place_columns(told.place)
    other = connection.execute(
        select(chats.c.chat_id).filter_by(**place).where(chats.c.chat_id != told.chat_id)
    ).scalar_one_or_none()
    if other is not None:
        without_chat(connection, ChatId(other))
    row = {**place, "session_id": told.session.session_id, "renew": False, "archived_ms": None}
    made = {"chat_id": told.chat_id, **row, "created_ms": told.session.started_ms or now_ms}
    if not insert_new(connection, chats, made):
        connection.execute(update(chats).where(chats.c.chat_id == told.chat_id).values(**row))
    session(connection, told.session, now_ms)


def session(
    connection: Connection, told: Session, now_ms: int, *, request_id: str | None = None
) -> None:
    """A session of a chat that is known here; nothing where the chat is not. `request_id`: of the
    change that began it."""
    known = connection.execute(select(chats.c.chat_id).where(chats.c.chat_id == told.chat_id))
    if known.first() is None:
        return
    row: dict[str, Any] = {
        "chat_id": told.chat_id,
        "number": told.number,
        "thread_id": told.thread_id,
        "started_ms": told.started_ms,
        "title": told.title,
        "archived_ms": now_ms if told.archived else None,
    }
    if request_id is not None:
        row["request_id"] = request_id
    if not insert_new(connection, sessions, {"session_id": told.session_id, **row}):
        connection.execute(
            update(sessions).where(sessions.c.session_id == told.session_id).values(**row)
        )


def begun(connection: Connection, made: Session, request_id: str, now_ms: int) -> None:
    """A session that a request has begun, and that its chat remembers in now."""
    session(connection, made, now_ms, request_id=request_id)
    current(connection, made.chat_id, made.session_id)


def changed(connection: Connection, done: Session, now_current: Session, now_ms: int) -> None:
    """A session after a change, and the one that its chat remembers in now."""
    session(connection, done, now_ms)
    session(connection, now_current, now_ms)
    current(connection, now_current.chat_id, now_current.session_id)


def current(connection: Connection, chat_id: ChatId, session_id: SessionId) -> None:
    """The session that a chat remembers in now."""
    connection.execute(
        update(chats).where(chats.c.chat_id == chat_id).values(session_id=session_id, renew=False)
    )


def all_sessions(
    connection: Connection, chat_id: ChatId, told: Iterable[Session], now_ms: int
) -> None:
    """All sessions of a chat that are not forgotten there: what else there was here goes."""
    there = tuple(told)
    connection.execute(
        delete(sessions)
        .where(sessions.c.chat_id == chat_id)
        .where(sessions.c.session_id.not_in([one.session_id for one in there]))
        .where(sessions.c.thread_id.not_in(select(retired_threads.c.thread_id)))
        .where(
            sessions.c.session_id.not_in(
                select(chats.c.session_id).where(chats.c.chat_id == chat_id)
            )
        )
    )
    for one in there:
        session(connection, one, now_ms)


def session_ids(connection: Connection, chat_id: ChatId) -> set[str]:
    """The ids of all sessions of a chat, forgotten ones too."""
    rows = connection.execute(select(sessions.c.session_id).where(sessions.c.chat_id == chat_id))
    return set(rows.scalars())


def owner_of(connection: Connection, thread_id: ThreadId) -> ChatId | None:
    """The chat that has or had a thread."""
    found = connection.execute(select(sessions.c.chat_id).where(sessions.c.thread_id == thread_id))
    chat_id = found.scalar_one_or_none()
    return None if chat_id is None else ChatId(chat_id)


def chats_of(connection: Connection, surface: str, user_id: UserId) -> list[tuple[Place, ChatId]]:
    """The chats that are one person's alone."""
    rows = connection.execute(select(chats).filter_by(surface=surface, user_id=user_id))
    return [(place_of(row), ChatId(row.chat_id)) for row in rows]


def without_chat(connection: Connection, chat_id: ChatId) -> None:
    """A chat is not there any more; its threads are not marked."""
    connection.execute(delete(sessions).where(sessions.c.chat_id == chat_id))
    connection.execute(delete(chats).where(chats.c.chat_id == chat_id))


def gone(connection: Connection, chat_id: ChatId, now_ms: int) -> None:
    """A chat was deleted there: its memories are never used again."""
    rows = connection.execute(select(sessions.c.thread_id).where(sessions.c.chat_id == chat_id))
    for thread_id in rows.scalars().all():
        retired(connection, ThreadId(thread_id), now_ms)
    without_chat(connection, chat_id)


def taken_over(
    connection: Connection, minted: ChatId, kept: Chat, now_ms: int, *, stays: bool
) -> None:
    """The chat that was made here is `kept` there: its sessions go on in that one, after the one
    that is current there, which `stays` so, or gives way to the newest of ours."""
    found = connection.execute(
        select(sessions).where(sessions.c.chat_id == minted).order_by(sessions.c.number)
    ).all()
    ours = connection.execute(select(chats.c.session_id).where(chats.c.chat_id == minted))
    current_here = ours.scalar_one_or_none()
    without_chat(connection, minted)
    chat(connection, kept, now_ms)
    for number, row in enumerate(found, kept.session.number + 1):
        values = {**row._mapping, "chat_id": kept.chat_id, "number": number}
        insert_new(connection, sessions, values)
    if current_here is not None and not stays:
        current(connection, kept.chat_id, SessionId(current_here))


def all_chats(
    connection: Connection,
    surface: str,
    account: UserId,
    found: Iterable[tuple[Chat, Iterable[Session]]],
    now_ms: int,
) -> None:
    """All chats of an account, each with its sessions: what else there was here goes."""
    there = {one.chat_id: (one, sessions) for one, sessions in found}
    here = connection.execute(select(chats.c.chat_id).filter_by(surface=surface, account=account))
    for chat_id in here.scalars().all():
        if chat_id not in there:
            without_chat(connection, ChatId(chat_id))
    for one, its_sessions in there.values():
        chat(connection, one, now_ms)
        all_sessions(connection, one.chat_id, its_sessions, now_ms)


def unknown_chats(connection: Connection, found: Iterable[Chat], now_ms: int) -> None:
    """Chats there of whose places nothing was known here."""
    for one in found:
        place = place_columns(one.place)
        known = connection.execute(select(chats.c.chat_id).filter_by(**place)).first()
        if known is None:
            chat(connection, one, now_ms)


def session_of_request(connection: Connection, chat_id: ChatId, request_id: str) -> Session | None:
    """The session of a chat that a request has begun."""
    row = connection.execute(
        select(sessions).filter_by(chat_id=chat_id, request_id=request_id)
    ).one_or_none()
    return None if row is None else as_session(row)


def retired(connection: Connection, thread_id: ThreadId, now_ms: int) -> ChatId | None:
    """A thread that was forgotten there; the chat that had it."""
    insert_new(connection, retired_threads, {"thread_id": thread_id, "retired_ms": now_ms})
    return owner_of(connection, thread_id)


def rules(
    connection: Connection,
    surface: str,
    grants: Iterable[Grant],
    values: Iterable[SetValue],
    limits: Iterable[str],
) -> None:
    """Roles and settings as a snapshot has them: all of this surface, of users only `limits`."""
    connection.execute(delete(roles).where(roles.c.surface == surface))
    for grant in grants:
        row = {"surface": surface, "pattern": grant.pattern, "role": grant.role.value}
        insert_new(connection, roles, row)
    connection.execute(
        delete(settings).where(or_(settings.c.scope != "user", settings.c.key.in_(tuple(limits))))
    )
    for one in values:
        setting(connection, one.scope, one.key, one.value)


def scope(connection: Connection, of: Scope, values: Mapping[str, Any]) -> None:
    """All that is set in a scope."""
    connection.execute(
        delete(settings).filter_by(scope=of.kind, surface=of.surface, subject=of.subject)
    )
    for key, value in values.items():
        setting(connection, of, key, value)


def person(connection: Connection, of: Scope, values: Mapping[str, Any], now_ms: int) -> None:
    """A person who is known there, and all that is set for them."""
    people.note(connection, of.surface, UserId(of.subject), now_ms)
    scope(connection, of, values)


def values_of(connection: Connection, of: Scope) -> dict[str, Any]:
    """What is set in a scope, as it was told."""
    rows = connection.execute(
        select(settings).filter_by(scope=of.kind, surface=of.surface, subject=of.subject)
    )
    return {row.key: msgspec.json.decode(row.value) for row in rows}


def setting(connection: Connection, of: Scope, key: str, value: Any) -> None:
    """One setting; None: not set."""
    row = {"scope": of.kind, "surface": of.surface, "subject": of.subject, "key": key}
    connection.execute(delete(settings).filter_by(**row))
    if value is not None:
        text = msgspec.json.encode(value).decode()
        insert_new(connection, settings, {**row, "value": text})


def role(connection: Connection, surface: str, pattern: str, given: str | None) -> None:
    """One role; None: taken back."""
    connection.execute(delete(roles).filter_by(surface=surface, pattern=pattern))
    if given is not None:
        insert_new(connection, roles, {"surface": surface, "pattern": pattern, "role": given})
