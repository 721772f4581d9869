"""Statements of sessions: the memories of a chat, one of them current. Only within a chat of the
surface that asks: any other is `unknown_chat` or `unknown_session`, whether it exists or not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, delete, exists, func, select, update

from antiphon.core.chats import Session
from antiphon.core.ids import ChatId, SessionId, ThreadId
from antiphon.errors import PlatformError
from antiphon.records import threads
from antiphon.records.pages import Cut, Page, read_page
from antiphon.records.rows import (
    MAX_SESSION_REQUEST_ID,
    Mint,
    check_version,
    insert_new,
    once,
)
from antiphon.records.schema import chats, sessions
from antiphon.records.values import SessionRecord

MAX_TITLE = 200


def as_session(row: Row[Any]) -> Session:
    """The session in a row that has its columns."""
    return Session(
        session_id=SessionId(row.session_id),
        chat_id=ChatId(row.chat_id),
        thread_id=ThreadId(row.thread_id),
        started_ms=row.started_ms,
        number=row.number,
        title=row.title,
        archived=row.archived_ms is not None,
    )


def checked_title(title: str) -> str:
    """The title as it is kept. Raises PlatformError `bad_value`."""
    title = " ".join(title.split())
    if len(title) > MAX_TITLE or not title.isprintable():
        raise PlatformError(
            f"A title has at most {MAX_TITLE} characters, all of them printable.", code="bad_value"
        )
    return title


# --- making -----------------------------------------------------------------------------------


def begin(
    connection: Connection,
    chat_id: ChatId,
    mint: Mint,
    now_ms: int,
    *,
    request_id: str | None = None,
    given: Session | None = None,
) -> Session:
    """Another session of the chat, made current: what a change of isolation asks for, too. `given`:
    ids and time that a surface made up itself; raises PlatformError `conflict` where one of them is
    in use."""
    session_id = insert(connection, chat_id, mint, now_ms, request_id=request_id, given=given)
    _make_current(connection, chat_id, session_id)
    connection.execute(update(chats).where(chats.c.chat_id == chat_id).values(renew=False))
    return _row_of(connection, session_id)


def insert(
    connection: Connection,
    chat_id: ChatId,
    mint: Mint,
    now_ms: int,
    *,
    request_id: str | None = None,
    given: Session | None = None,
) -> SessionId:
    """Adds a session, which is not made current. Raises as `begin`."""
    last = connection.execute(
        select(func.coalesce(func.max(sessions.c.number), 0)).where(sessions.c.chat_id == chat_id)
    ).scalar_one()
    if given is not None and threads.is_used(connection, given.thread_id):
        raise _taken()
    row = {
        "session_id": mint() if given is None else given.session_id,
        "chat_id": chat_id,
        "number": last + 1,
        "thread_id": threads.unused(connection, mint) if given is None else given.thread_id,
        "request_id": request_id,
        "started_ms": now_ms if given is None else given.started_ms,
    }
    if not insert_new(connection, sessions, row):
        if given is not None:
            raise _taken()
        raise PlatformError("A session could not be begun; try again.", retryable=True)
    return SessionId(str(row["session_id"]))


def _taken() -> PlatformError:
    return PlatformError("These ids are in use.", code="conflict")


def make(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    request_id: str,
    mint: Mint,
    now_ms: int,
    given: Session | None = None,
) -> Session:
    """Another session of the chat, or the one that `request_id` made before."""
    lock_chat(connection, surface, chat_id)
    known = connection.execute(
        select(sessions).where(sessions.c.chat_id == chat_id, sessions.c.request_id == request_id)
    ).one_or_none()
    if known is not None:
        return as_session(known)
    kept = request_id if len(request_id) <= MAX_SESSION_REQUEST_ID else None

    def do() -> str:
        return begin(connection, chat_id, mint, now_ms, request_id=kept, given=given).session_id

    body = ("session.new", chat_id)
    session_id = once(connection, surface, request_id, body, now_ms, do)
    return _row_of(connection, session_id)


# --- changing ---------------------------------------------------------------------------------


def switch(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    session_id: SessionId,
    request_id: str,
    now_ms: int,
) -> Session:
    """Makes it the current one, and brings it back into sight."""
    lock_chat(connection, surface, chat_id)

    def do() -> None:
        change(connection, surface, chat_id, session_id, archived=False, now_ms=now_ms)
        _make_current(connection, chat_id, session_id)

    once(connection, surface, request_id, ("session.switch", chat_id, session_id), now_ms, do)
    return one(connection, surface, chat_id, session_id).session


def rename(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    session_id: SessionId,
    title: str,
    request_id: str,
    now_ms: int,
) -> Session:
    """Gives it a title."""
    lock_chat(connection, surface, chat_id)
    title = checked_title(title)

    def do() -> None:
        change(connection, surface, chat_id, session_id, title=title, now_ms=now_ms)

    body = ("session.rename", chat_id, session_id, title)
    once(connection, surface, request_id, body, now_ms, do)
    return one(connection, surface, chat_id, session_id).session


def archive(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    session_id: SessionId,
    request_id: str,
    mint: Mint,
    now_ms: int,
) -> Session:
    """Puts it out of sight; gives the session that is (or then became) current."""
    lock_chat(connection, surface, chat_id)

    def do() -> str:
        change(connection, surface, chat_id, session_id, archived=True, now_ms=now_ms)
        return leave(connection, chat_id, session_id, mint, now_ms)

    body = ("session.archive", chat_id, session_id)
    current = once(connection, surface, request_id, body, now_ms, do)
    return one(connection, surface, chat_id, current).session


def change(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    session_id: SessionId,
    *,
    now_ms: int,
    title: str | None = None,
    archived: bool | None = None,
    expected: int | None = None,
) -> SessionRecord:
    """Changes what is not None. Raises PlatformError `unknown_chat`, `unknown_session`,
    `bad_value`, `stale`."""
    lock_chat(connection, surface, chat_id)
    found = one(connection, surface, chat_id, session_id)
    check_version("The session", found.version, expected)
    values: dict[str, Any] = {}
    if title is not None and checked_title(title) != found.session.title:
        values["title"] = checked_title(title)
    if archived is not None and archived != found.session.archived:
        values["archived_ms"] = now_ms if archived else None
    if not values:
        return found
    connection.execute(
        update(sessions)
        .where(sessions.c.session_id == session_id)
        .values(**values, version=sessions.c.version + 1)
    )
    return one(connection, surface, chat_id, session_id)


def leave(
    connection: Connection, chat_id: ChatId, session_id: SessionId, mint: Mint, now_ms: int
) -> SessionId:
    """The chat's current session; where that is this one, another is begun first."""
    current = connection.execute(
        select(chats.c.session_id).where(chats.c.chat_id == chat_id)
    ).scalar_one()
    if current != session_id:
        return SessionId(current)
    return begin(connection, chat_id, mint, now_ms).session_id


def retire(
    connection: Connection, surface: str, thread_id: ThreadId, mint: Mint, now_ms: int
) -> None:
    """Never uses the thread again; where it is a chat's current memory, begins another session.
    A thread of another surface is left alone."""
    owner = connection.execute(
        select(chats.c.chat_id, chats.c.surface, sessions.c.session_id)
        .join(sessions, sessions.c.chat_id == chats.c.chat_id)
        .where(sessions.c.thread_id == thread_id)
        .with_for_update(of=chats)
    ).one_or_none()
    if owner is not None and owner.surface != surface:
        return
    if threads.is_retired(connection, thread_id):
        return
    threads.mark_retired(connection, [thread_id], now_ms)
    if owner is not None:
        leave(connection, ChatId(owner.chat_id), SessionId(owner.session_id), mint, now_ms)


def remove(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    session_id: SessionId,
    mint: Mint,
    now_ms: int,
    expected: int | None = None,
) -> ThreadId:
    """Deletes it: its thread, which this gives, is retired. Raises as `change`."""
    lock_chat(connection, surface, chat_id)
    found = one(connection, surface, chat_id, session_id)
    check_version("The session", found.version, expected)
    thread_id = found.session.thread_id
    leave(connection, chat_id, session_id, mint, now_ms)
    threads.mark_retired(connection, [thread_id], now_ms)
    connection.execute(delete(sessions).where(sessions.c.session_id == session_id))
    return thread_id


# --- reading ----------------------------------------------------------------------------------


def lock_chat(connection: Connection, surface: str, chat_id: ChatId) -> None:
    """Holds the chat for this transaction. Raises PlatformError `unknown_chat`."""
    found = connection.execute(
        select(chats.c.chat_id)
        .where(chats.c.chat_id == chat_id, chats.c.surface == surface)
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise unknown_chat()


def unknown_chat() -> PlatformError:
    """The error for a chat that is not there, or not of this surface."""
    return PlatformError("There is no such chat.", code="unknown_chat")


def all_of(connection: Connection, surface: str, chat_id: ChatId) -> tuple[Session, ...]:
    """The sessions of a chat that were not retired, archived ones too, by number."""
    _check_chat(connection, surface, chat_id)
    rows = connection.execute(_alive(chat_id).order_by(sessions.c.number))
    return tuple(as_session(row) for row in rows)


def page(connection: Connection, surface: str, chat_id: ChatId, cut: Cut) -> Page[SessionRecord]:
    """The same in pages."""
    _check_chat(connection, surface, chat_id)
    return read_page(connection, _alive(chat_id), [sessions.c.number], cut, _record)


def one(
    connection: Connection, surface: str, chat_id: ChatId, session_id: SessionId
) -> SessionRecord:
    """A session of this chat. Raises PlatformError `unknown_session`."""
    row = connection.execute(
        _alive(chat_id).where(sessions.c.session_id == session_id, chats.c.surface == surface)
    ).one_or_none()
    if row is None:
        raise PlatformError("There is no such session in this chat.", code="unknown_session")
    return _record(row)


def _alive(chat_id: ChatId) -> Select[Any]:
    return (
        select(sessions, chats.c.session_id.label("current"))
        .join(chats, chats.c.chat_id == sessions.c.chat_id)
        .where(sessions.c.chat_id == chat_id)
        .where(~threads.retired(sessions.c.thread_id))
    )


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(as_session(row), row.current == row.session_id, row.version)


def _row_of(connection: Connection, session_id: str) -> Session:
    row = connection.execute(
        select(sessions).where(sessions.c.session_id == session_id)
    ).one_or_none()
    if row is None:
        raise PlatformError("There is no such session in this chat.", code="unknown_session")
    return as_session(row)


def _check_chat(connection: Connection, surface: str, chat_id: ChatId) -> None:
    known = exists().where(chats.c.chat_id == chat_id, chats.c.surface == surface)
    if not connection.execute(select(known)).scalar_one():
        raise unknown_chat()


def _make_current(connection: Connection, chat_id: ChatId, session_id: SessionId) -> None:
    connection.execute(
        update(chats)
        .where(chats.c.chat_id == chat_id, chats.c.session_id != session_id)
        .values(session_id=session_id, version=chats.c.version + 1)
    )
