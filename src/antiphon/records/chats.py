"""Statements of chats: one for each place of a surface, with its current session. Only what belongs
to the surface that asks is seen or changed."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, EventId, RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import PlatformError
from antiphon.records import sessions as memories
from antiphon.records import threads
from antiphon.records.pages import Cut, Page, read_page
from antiphon.records.rows import Mint, check_version, insert_new
from antiphon.records.schema import chats, sessions
from antiphon.records.values import ChatRecord


def place_columns(place: Place) -> dict[str, str]:
    """The place as columns of `chats`."""
    return {
        "surface": place.surface,
        "account": place.account,
        "room": place.room,
        "thread_root": place.thread_root or "",
        "user_id": place.user or "",
    }


_PLACE = ("surface", "account", "room", "thread_root", "user_id")


def _at(place: Place) -> Any:
    return and_(*(chats.c[name] == value for name, value in place_columns(place).items()))


_SESSION = [
    sessions.c.thread_id,
    sessions.c.started_ms,
    sessions.c.number,
    sessions.c.title.label("session_title"),
    sessions.c.archived_ms.label("session_archived_ms"),
]


def _with_session() -> Select[Any]:
    return select(chats, *_SESSION).join(sessions, sessions.c.session_id == chats.c.session_id)


def place_of(row: Row[Any]) -> Place:
    """The place in a row of `chats`."""
    return Place(
        surface=row.surface,
        account=UserId(row.account),
        room=RoomId(row.room),
        thread_root=EventId(row.thread_root) if row.thread_root else None,
        user=UserId(row.user_id) if row.user_id else None,
    )


def _record(row: Row[Any]) -> ChatRecord:
    chat_id = ChatId(row.chat_id)
    session = Session(
        session_id=row.session_id,
        chat_id=chat_id,
        thread_id=ThreadId(row.thread_id),
        started_ms=row.started_ms,
        number=row.number,
        title=row.session_title,
        archived=row.session_archived_ms is not None,
    )
    return ChatRecord(
        chat_id=chat_id,
        place=place_of(row),
        session=session,
        created_ms=row.created_ms,
        title=row.title,
        archived=row.archived_ms is not None,
        version=row.version,
    )


def _chat(row: Row[Any]) -> Chat:
    record = _record(row)
    return Chat(record.chat_id, record.place, record.session)


# --- finding ----------------------------------------------------------------------------------


def find(connection: Connection, place: Place) -> Chat | None:
    """The chat of a place as it stands, or None: where there is none, or it must be touched by
    `make` first, because another session begins in it or it was archived."""
    row = connection.execute(_find(), place_columns(place)).one_or_none()
    return None if row is None or row.renew or row.archived_ms is not None else _chat(row)


@cache
def _find() -> Select[Any]:
    """The statement of each question, which costs more to build than to run."""
    return _with_session().where(*(chats.c[name] == bindparam(name) for name in _PLACE))


def record_at(connection: Connection, place: Place) -> ChatRecord | None:
    """The chat of a place, whatever its state."""
    row = connection.execute(_with_session().where(_at(place))).one_or_none()
    return None if row is None else _record(row)


def one(connection: Connection, surface: str, chat_id: ChatId) -> ChatRecord:
    """A chat of the surface. Raises PlatformError `unknown_chat`."""
    row = connection.execute(
        _with_session().where(chats.c.chat_id == chat_id, chats.c.surface == surface)
    ).one_or_none()
    if row is None:
        raise memories.unknown_chat()
    return _record(row)


def page(
    connection: Connection,
    surface: str,
    cut: Cut,
    *,
    account: str | None = None,
    room: str | None = None,
    user: str | None = None,
    archived: bool | None = None,
) -> Page[ChatRecord]:
    """The chats of a surface, those that fit, by id."""
    statement = _with_session().where(chats.c.surface == surface)
    for column, value in (
        (chats.c.account, account),
        (chats.c.room, room),
        (chats.c.user_id, user),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if archived is not None:
        is_archived = chats.c.archived_ms.is_not(None)
        statement = statement.where(is_archived if archived else ~is_archived)
    return read_page(connection, statement, [chats.c.chat_id], cut, _record)


def kept(connection: Connection, surface: str, account: UserId) -> tuple[KeptChat, ...]:
    """The chats of an account with all their threads, ordered by room."""
    rows = connection.execute(
        select(chats, sessions.c.thread_id)
        .join(sessions, sessions.c.chat_id == chats.c.chat_id)
        .where(chats.c.surface == surface, chats.c.account == account)
        .order_by(chats.c.room, chats.c.thread_root, chats.c.user_id, sessions.c.number)
    )
    found: dict[str, tuple[Place, list[ThreadId]]] = {}
    for row in rows:
        found.setdefault(row.chat_id, (place_of(row), []))[1].append(ThreadId(row.thread_id))
    return tuple(KeptChat(place, tuple(kept)) for place, kept in found.values())


# --- making -----------------------------------------------------------------------------------


def make(connection: Connection, place: Place, mint: Mint, now_ms: int) -> Chat:
    """The chat of a place, made where there is none; whoever is second gets the first one's. One
    whose room's isolation changed gets another session, an archived one comes back into sight."""
    _insert(connection, place, ChatId(mint()), mint, now_ms, None)
    row = connection.execute(
        select(chats.c.chat_id, chats.c.renew, chats.c.archived_ms)
        .where(_at(place))
        .with_for_update()
    ).one()
    if row.renew:
        memories.begin(connection, ChatId(row.chat_id), mint, now_ms)
    if row.renew or row.archived_ms is not None:
        connection.execute(
            update(chats)
            .where(chats.c.chat_id == row.chat_id)
            .values(renew=False, archived_ms=None, version=chats.c.version + 1)
        )
    return _chat(connection.execute(_with_session().where(_at(place))).one())


def adopt(connection: Connection, chat: Chat, mint: Mint, now_ms: int) -> tuple[ChatRecord, bool]:
    """Takes a chat over with the ids that a surface made up for it, and says whether it is new; the
    same again is fine. Raises PlatformError `conflict` where its place has another chat, or one of
    its ids is in use."""
    made = _insert(connection, chat.place, chat.chat_id, mint, now_ms, chat.session)
    found = record_at(connection, chat.place)
    if found is None:
        raise PlatformError("These ids are in use.", code="conflict")
    known = {
        session.thread_id
        for session in memories.all_of(connection, chat.place.surface, found.chat_id)
    }
    if found.chat_id != chat.chat_id or chat.session.thread_id not in known:
        raise PlatformError("This place has another chat.", code="conflict")
    return found, made


def _insert(
    connection: Connection,
    place: Place,
    chat_id: ChatId,
    mint: Mint,
    now_ms: int,
    given: Session | None,
) -> bool:
    session_id = mint() if given is None else given.session_id
    row = {"chat_id": chat_id, "session_id": session_id, **place_columns(place)}
    if not insert_new(connection, chats, {**row, "created_ms": now_ms}):
        return False
    made = memories.insert(connection, chat_id, mint, now_ms, given=given)
    connection.execute(update(chats).where(chats.c.chat_id == chat_id).values(session_id=made))
    return True


# --- changing ---------------------------------------------------------------------------------


def change(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    *,
    now_ms: int,
    title: str | None = None,
    archived: bool | None = None,
    expected: int | None = None,
) -> ChatRecord:
    """Changes what is not None. Raises PlatformError `unknown_chat`, `bad_value`, `stale`."""
    memories.lock_chat(connection, surface, chat_id)
    found = one(connection, surface, chat_id)
    check_version("The chat", found.version, expected)
    values: dict[str, Any] = {}
    if title is not None and memories.checked_title(title) != found.title:
        values["title"] = memories.checked_title(title)
    if archived is not None and archived != found.archived:
        values["archived_ms"] = now_ms if archived else None
    if values:
        connection.execute(
            update(chats)
            .where(chats.c.chat_id == chat_id)
            .values(**values, version=chats.c.version + 1)
        )
    return one(connection, surface, chat_id)


def move(connection: Connection, old: Place, new: Place, *, renew: bool) -> bool:
    """Gives the chat of `old` the place `new`, unless that has a chat; says whether it did.
    `renew`: another session begins there, because the two rooms isolate differently."""
    values: dict[str, Any] = {**place_columns(new), "version": chats.c.version + 1}
    if renew:
        values["renew"] = True
    try:
        with connection.begin_nested():
            moved = connection.execute(
                update(chats).where(_at(old)).values(**values).returning(chats.c.chat_id)
            ).all()
    except IntegrityError:
        return False
    return bool(moved)


def renew_rooms(connection: Connection, surface: str, rooms: Any) -> None:
    """Lets every chat in the rooms that the condition `rooms` (over `chats`) names begin another
    session when it is next asked for."""
    connection.execute(update(chats).where(chats.c.surface == surface, rooms).values(renew=True))


def remove_at(connection: Connection, place: Place, now_ms: int) -> tuple[ThreadId, ...]:
    """Removes the chat of a place and its sessions; gives their threads, which are retired."""
    return _remove(connection, _at(place), now_ms)[1]


def remove(
    connection: Connection,
    surface: str,
    chat_id: ChatId,
    now_ms: int,
    expected: int | None = None,
) -> tuple[ThreadId, ...]:
    """The same by id. Raises PlatformError `unknown_chat`, `stale`."""
    memories.lock_chat(connection, surface, chat_id)
    check_version("The chat", one(connection, surface, chat_id).version, expected)
    return _remove(connection, chats.c.chat_id == chat_id, now_ms)[1]


def remove_of_user(
    connection: Connection, surface: str, user_id: UserId, now_ms: int
) -> tuple[int, tuple[ThreadId, ...]]:
    """The same for all chats that are one person's alone; gives how many those were, too."""
    return _remove(connection, and_(chats.c.surface == surface, chats.c.user_id == user_id), now_ms)


def _remove(connection: Connection, which: Any, now_ms: int) -> tuple[int, tuple[ThreadId, ...]]:
    ids = (
        connection.execute(
            select(chats.c.chat_id).where(which).order_by(chats.c.chat_id).with_for_update()
        )
        .scalars()
        .all()
    )
    gone: list[ThreadId] = []
    for chat_id in ids:
        mine = sessions.c.chat_id == chat_id
        found = connection.execute(
            select(sessions.c.thread_id).where(mine).order_by(sessions.c.number)
        ).scalars()
        gone += [ThreadId(thread_id) for thread_id in found]
        connection.execute(delete(sessions).where(mine))
        connection.execute(delete(chats).where(chats.c.chat_id == chat_id))
    threads.mark_retired(connection, gone, now_ms)
    return len(ids), tuple(gone)


def shared_threads(connection: Connection, surface: str) -> tuple[ThreadId, ...]:
    """The threads in which anybody of the surface may have spoken, but for retired ones: those of
    all chats that are not one person's alone."""
    rows = connection.execute(
        select(sessions.c.thread_id)
        .join(chats, chats.c.chat_id == sessions.c.chat_id)
        .where(chats.c.surface == surface, chats.c.user_id == "")
        .where(~threads.retired(sessions.c.thread_id))
        .order_by(sessions.c.thread_id)
    )
    return tuple(ThreadId(thread_id) for thread_id in rows.scalars())
