"""The statements of `state.db` as functions over a connection: one function, one transaction.
Ids and times are passed in; nothing here is random. Only `prototype_state` calls these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, EventId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.errors import PlatformError
from antiphon.records.schema import chats, retired_threads, sessions, settings, users

Mint = Callable[[], str]


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Inserts `row` unless one of the table's keys is taken; says whether it did."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table).values(**row).on_conflict_do_nothing()
    # Not by `rowcount`: psycopg does not tell it here.
    return connection.execute(insert.returning(*table.primary_key)).first() is not None


def _place_columns(place: Place) -> dict[str, str]:
    return {
        "surface": place.surface,
        "account": place.account,
        "room": place.room,
        "thread_root": place.thread_root or "",
        "user_id": place.user or "",
    }


def _at(place: Place) -> Any:
    return and_(*(chats.c[name] == value for name, value in _place_columns(place).items()))


def _chats_with_session() -> Select[Any]:
    return select(chats, sessions.c.thread_id, sessions.c.started_ms).join(
        sessions, sessions.c.session_id == chats.c.session_id
    )


def _as_chat(row: Row[Any]) -> Chat:
    place = Place(
        surface=row.surface,
        account=UserId(row.account),
        room=RoomId(row.room),
        thread_root=EventId(row.thread_root) if row.thread_root else None,
        user=UserId(row.user_id) if row.user_id else None,
    )
    return Chat(ChatId(row.chat_id), place, _as_session(row))


def _as_session(row: Row[Any]) -> Session:
    return Session(
        session_id=SessionId(row.session_id),
        chat_id=ChatId(row.chat_id),
        thread_id=ThreadId(row.thread_id),
        started_ms=row.started_ms,
    )


def find_chat(connection: Connection, place: Place) -> Chat | None:
    """The chat of a place, or None."""
    row = connection.execute(_chats_with_session().where(_at(place))).one_or_none()
    return None if row is None else _as_chat(row)


def make_chat(connection: Connection, place: Place, mint: Mint, now_ms: int) -> Chat:
    """The chat of a place, made where there is none; whoever is second gets the first one's."""
    chat_id, session_id = mint(), mint()
    names = {"chat_id": chat_id, "session_id": session_id, **_place_columns(place)}
    if insert_new(connection, chats, {**names, "created_ms": now_ms}):
        _insert_session(connection, chat_id, session_id, None, mint, now_ms)
    chat = find_chat(connection, place)
    assert chat is not None
    return chat


def make_session(
    connection: Connection, chat_id: ChatId, request_id: str, mint: Mint, now_ms: int
) -> Session:
    """Another session of the chat, or the one that `request_id` made before."""
    _lock_chat(connection, chat_id)
    known = connection.execute(
        select(sessions).where(sessions.c.chat_id == chat_id, sessions.c.request_id == request_id)
    ).one_or_none()
    if known is not None:
        return _as_session(known)
    return _begin(connection, chat_id, request_id, mint, now_ms)


def _lock_chat(connection: Connection, chat_id: str) -> None:
    found = connection.execute(
        select(chats.c.chat_id).where(chats.c.chat_id == chat_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise PlatformError(f"There is no chat {chat_id}.", code="unknown_chat")


def _begin(
    connection: Connection, chat_id: str, request_id: str | None, mint: Mint, now_ms: int
) -> Session:
    session_id = mint()
    _insert_session(connection, chat_id, session_id, request_id, mint, now_ms)
    connection.execute(
        update(chats).where(chats.c.chat_id == chat_id).values(session_id=session_id)
    )
    row = connection.execute(select(sessions).where(sessions.c.session_id == session_id)).one()
    return _as_session(row)


def _insert_session(
    connection: Connection,
    chat_id: str,
    session_id: str,
    request_id: str | None,
    mint: Mint,
    now_ms: int,
) -> None:
    last = connection.execute(
        select(func.coalesce(func.max(sessions.c.number), 0)).where(sessions.c.chat_id == chat_id)
    ).scalar_one()
    row = {
        "session_id": session_id,
        "chat_id": chat_id,
        "number": last + 1,
        "thread_id": _unused_thread(connection, mint),
        "request_id": request_id,
        "started_ms": now_ms,
    }
    if not insert_new(connection, sessions, row):
        raise PlatformError("A session could not be begun; try again.", retryable=True)


def _unused_thread(connection: Connection, mint: Mint) -> str:
    """A thread id that was never used here, retired ones included."""
    while True:
        thread_id = mint()
        taken = connection.execute(
            select(
                or_(
                    exists().where(sessions.c.thread_id == thread_id),
                    exists().where(retired_threads.c.thread_id == thread_id),
                )
            )
        ).scalar_one()
        if not taken:
            return thread_id


def list_sessions(connection: Connection, chat_id: ChatId) -> tuple[Session, ...]:
    """The sessions of a chat that were not retired, oldest first."""
    rows = connection.execute(
        select(sessions)
        .where(sessions.c.chat_id == chat_id)
        .where(~exists().where(retired_threads.c.thread_id == sessions.c.thread_id))
        .order_by(sessions.c.number)
    )
    return tuple(_as_session(row) for row in rows)


def move_chat(connection: Connection, old: Place, new: Place) -> None:
    """Gives the chat of `old` the place `new`, unless that has a chat."""
    try:
        with connection.begin_nested():
            connection.execute(update(chats).where(_at(old)).values(**_place_columns(new)))
    except IntegrityError:
        return


def list_chats(connection: Connection, surface: str, account: UserId) -> tuple[KeptChat, ...]:
    """The chats of an account with all their threads, ordered by room."""
    found = connection.execute(
        _chats_with_session()
        .where(chats.c.surface == surface, chats.c.account == account)
        .order_by(chats.c.room, chats.c.thread_root, chats.c.user_id)
    ).all()
    return tuple(
        KeptChat(
            _as_chat(row).place,
            tuple(
                ThreadId(session.thread_id)
                for session in connection.execute(
                    select(sessions.c.thread_id)
                    .where(sessions.c.chat_id == row.chat_id)
                    .order_by(sessions.c.number)
                )
            ),
        )
        for row in found
    )


def forget_chat(connection: Connection, place: Place, now_ms: int) -> None:
    """Removes the chat of a place and its sessions; their threads are retired."""
    chat_id = connection.execute(
        select(chats.c.chat_id).where(_at(place)).with_for_update()
    ).scalar_one_or_none()
    if chat_id is None:
        return
    for row in connection.execute(
        select(sessions.c.thread_id).where(sessions.c.chat_id == chat_id)
    ).all():
        insert_new(connection, retired_threads, {"thread_id": row.thread_id, "retired_ms": now_ms})
    connection.execute(delete(sessions).where(sessions.c.chat_id == chat_id))
    connection.execute(delete(chats).where(chats.c.chat_id == chat_id))


def retire(connection: Connection, thread_id: ThreadId, mint: Mint, now_ms: int) -> None:
    """Marks the thread; where it is a chat's current memory, begins another session."""
    if not insert_new(connection, retired_threads, {"thread_id": thread_id, "retired_ms": now_ms}):
        return
    current = connection.execute(
        select(chats.c.chat_id)
        .join(sessions, sessions.c.session_id == chats.c.session_id)
        .where(sessions.c.thread_id == thread_id)
        .with_for_update(of=chats)
    ).scalar_one_or_none()
    if current is not None:
        _begin(connection, current, None, mint, now_ms)


def is_retired(connection: Connection, thread_id: ThreadId) -> bool:
    """Whether the thread was retired."""
    statement = select(exists().where(retired_threads.c.thread_id == thread_id))
    return bool(connection.execute(statement).scalar_one())


def is_known_user(connection: Connection, surface: str, user_id: UserId) -> bool:
    """Whether the user was seen on this surface."""
    seen = exists().where(users.c.surface == surface, users.c.user_id == user_id)
    return bool(connection.execute(select(seen)).scalar_one())


def note_user(connection: Connection, surface: str, user_id: UserId, now_ms: int) -> None:
    """Remembers that the user was seen, and when first."""
    row = {"surface": surface, "user_id": user_id, "first_seen_ms": now_ms}
    insert_new(connection, users, row)


def read_settings(connection: Connection, scopes: Iterable[Scope]) -> list[tuple[Scope, str, str]]:
    """What is set in these scopes: scope, key, JSON value."""
    keys = [(scope.kind, scope.surface, scope.subject) for scope in scopes]
    rows = connection.execute(
        select(settings).where(
            tuple_(settings.c.scope, settings.c.surface, settings.c.subject).in_(keys)
        )
    )
    return [(Scope(row.scope, row.surface, row.subject), row.key, row.value) for row in rows]


def write_setting(connection: Connection, scope: Scope, key: str, value: str | None) -> None:
    """Sets one value (JSON), or removes it."""
    row = {"scope": scope.kind, "surface": scope.surface, "subject": scope.subject, "key": key}
    connection.execute(delete(settings).filter_by(**row))
    if value is not None:
        insert_new(connection, settings, {**row, "value": value})
