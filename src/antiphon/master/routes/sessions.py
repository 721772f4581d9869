"""`/chats/{chat_id}/sessions`: the memories of a chat."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from antiphon.core.chats import Session
from antiphon.core.ids import ChatId, SessionId, ThreadId
from antiphon.master.calls import (
    Asked,
    IdempotencyKey,
    IfMatch,
    Reply,
    Tx,
    call_of,
    expect,
    reply,
)
from antiphon.master.docs import reading, writing
from antiphon.master.problems import Problem
from antiphon.master.shapes.chats import (
    BeginSession,
    PatchSession,
    SessionChanged,
    SessionGiven,
    session,
)
from antiphon.master.shapes.common import Key, Page, PageAsked
from antiphon.records import audit, chats, erasure, sessions
from antiphon.records.pages import Cut
from antiphon.records.values import SessionRecord

router = APIRouter(tags=["sessions"])

NeededKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7E]{1,128}$",
        description="A name for this beginning: under it there is one session.",
        examples=["t5bsqw3c7n2x.1"],
    ),
]


@router.get(
    "/chats/{chat_id}/sessions",
    response_model=Page[SessionGiven],
    summary="The sessions of a chat",
    responses=reading(404),
)
async def list_sessions(
    request: Request, chat_id: Key, query: Annotated[PageAsked, Query()]
) -> Response:
    """By number, in pages; archived ones too, forgotten ones not."""
    call = call_of(request, "chats", query.surface)
    cut = Cut(query.cursor, query.limit)
    found = await call.read(
        lambda tx: sessions.page(tx.connection, tx.surface, ChatId(chat_id), cut)
    )
    items = [session(one) for one in found.items]
    return reply(Page[SessionGiven](items=items, next_cursor=found.cursor)).response()


@router.post(
    "/chats/{chat_id}/sessions",
    status_code=201,
    response_model=SessionGiven,
    summary="Begin another session",
    responses=writing(404),
)
async def begin_session(
    request: Request,
    chat_id: Key,
    body: BeginSession,
    query: Annotated[Asked, Query()],
    key: NeededKey,
) -> Response:
    """It is current from then on."""
    call = call_of(request, "chats", query.surface)
    minted = body.session

    def begin(tx: Tx) -> Reply:
        given = None
        if minted is not None:
            given = Session(
                session_id=SessionId(minted.session_id),
                chat_id=ChatId(chat_id),
                thread_id=ThreadId(minted.thread_id),
                started_ms=minted.started_ms,
            )
        made = sessions.make(
            tx.connection, tx.surface, ChatId(chat_id), key, tx.mint, tx.now_ms, given
        )
        found = sessions.one(tx.connection, tx.surface, ChatId(chat_id), made.session_id)
        _note(tx, "session.begun", made.session_id)
        return reply(session(found), status=201, etag=found.version)

    content = [chat_id, body.model_dump()]
    return await call.write(begin, name="session.begin", key=key, content=content)


@router.get(
    "/chats/{chat_id}/sessions/{session_id}",
    response_model=SessionGiven,
    summary="A session",
    responses=reading(404),
)
async def get_session(
    request: Request, chat_id: Key, session_id: Key, query: Annotated[Asked, Query()]
) -> Response:
    """Of this chat alone."""
    call = call_of(request, "chats", query.surface)
    found = await call.read(lambda tx: _one(tx, chat_id, session_id))
    return reply(session(found), etag=found.version).response()


@router.patch(
    "/chats/{chat_id}/sessions/{session_id}",
    response_model=SessionChanged,
    summary="Rename, archive or switch to a session",
    responses=writing(404, 412, 428),
)
async def patch_session(
    request: Request,
    chat_id: Key,
    session_id: Key,
    body: PatchSession,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Archiving the current one begins another; switching to an archived one brings it back.
    `If-Match` is needed unless there is an `Idempotency-Key`."""
    call = call_of(request, "chats", query.surface)
    if body.current is False or (body.current and body.archived):
        raise Problem(422, "bad_value", "`current` can only be true, and not of an archived one.")

    def patch(tx: Tx) -> Reply:
        chat = ChatId(chat_id)
        sessions.lock_chat(tx.connection, tx.surface, chat)
        known = _one(tx, chat_id, session_id)
        expect(if_match, known.version, needed=key is None)
        sessions.change(
            tx.connection,
            tx.surface,
            chat,
            SessionId(session_id),
            now_ms=tx.now_ms,
            title=body.title,
            archived=body.archived,
            expected=known.version,
        )
        if body.archived:
            sessions.leave(tx.connection, chat, SessionId(session_id), tx.mint, tx.now_ms)
        if body.current:
            name = f"http-switch:{tx.mint()}"
            sessions.switch(tx.connection, tx.surface, chat, SessionId(session_id), name, tx.now_ms)
        found = _one(tx, chat_id, session_id)
        for action, done in (
            ("session.renamed", found.session.title != known.session.title),
            ("session.archived", found.session.archived > known.session.archived),
            ("session.restored", found.session.archived < known.session.archived),
            ("session.switched", found.current > known.current),
        ):
            if done:
                _note(tx, action, session_id)
        return reply(
            SessionChanged(session=session(found), current=session(_current(tx, chat_id))),
            etag=found.version,
        )

    content = [chat_id, session_id, body.model_dump(exclude_unset=True), if_match]
    return await call.write(patch, name="session.patch", key=key, content=content)


@router.delete(
    "/chats/{chat_id}/sessions/{session_id}",
    response_model=SessionChanged,
    summary="Delete a session",
    responses=writing(404, 412),
)
async def delete_session(
    request: Request,
    chat_id: Key,
    session_id: Key,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Its thread is never used again, and the agent erases it. Where it was the current one,
    another begins."""
    call = call_of(request, "chats", query.surface)

    def delete(tx: Tx) -> Reply:
        known = _one(tx, chat_id, session_id)
        expect(if_match, known.version, needed=False)
        thread = sessions.remove(
            tx.connection,
            tx.surface,
            ChatId(chat_id),
            SessionId(session_id),
            tx.mint,
            tx.now_ms,
            known.version,
        )
        erasure.owe_threads(tx.connection, tx.surface, [thread], tx.now_ms)
        _note(tx, "session.deleted", session_id)
        changed = SessionChanged(session=None, current=session(_current(tx, chat_id)))
        return Reply(200, changed.model_dump_json(), debts=True)

    content = [chat_id, session_id, if_match]
    return await call.write(delete, name="session.delete", key=key, content=content)


def _one(tx: Tx, chat_id: str, session_id: str) -> SessionRecord:
    # The chat first: of a foreign one nothing may be told, not even that the session is not there.
    chats.one(tx.connection, tx.surface, ChatId(chat_id))
    return sessions.one(tx.connection, tx.surface, ChatId(chat_id), SessionId(session_id))


def _current(tx: Tx, chat_id: str) -> SessionRecord:
    found = chats.one(tx.connection, tx.surface, ChatId(chat_id))
    return sessions.one(tx.connection, tx.surface, ChatId(chat_id), found.session.session_id)


def _note(tx: Tx, action: str, session_id: str) -> None:
    audit.note(tx.connection, tx.surface, tx.actor, action, session_id, tx.now_ms)
