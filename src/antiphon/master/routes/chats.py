"""`/chats`: conversations of a surface: found or made by place, listed, changed, moved, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, SessionId, ThreadId
from antiphon.core.model import Place
from antiphon.errors import PlatformError
from antiphon.master.calls import (
    Asked,
    Call,
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
    Adopted,
    ChatGiven,
    ChatsAsked,
    MakeChat,
    MoveChat,
    PatchChat,
    chat,
)
from antiphon.master.shapes.common import Key, Page
from antiphon.records import audit, chats, erasure, settings
from antiphon.records.pages import Cut
from antiphon.records.values import ChatRecord

router = APIRouter(tags=["chats"])


@router.post(
    "/chats",
    response_model=ChatGiven,
    summary="The chat of a place, made where there is none",
    responses={201: {"model": ChatGiven, "description": "New"}, **writing()},
)
async def make_chat(
    request: Request,
    body: MakeChat,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """Two requests at once for one place get one chat. An archived chat comes back into sight."""
    call = call_of(request, "chats", query.surface)
    place = body.place.of(call.surface)
    if key is None and body.adopt is None:
        found = await call.read(lambda tx: _as_it_stands(tx, place))
        if found is not None:
            return _reply(found).response()

    def make(tx: Tx) -> Reply:
        if body.adopt is not None:
            return _adopt(tx, place, body.adopt)
        minted: set[str] = set()

        def mint() -> str:
            minted.add(new := tx.mint())
            return new

        made = chats.make(tx.connection, place, mint, tx.now_ms)
        record = chats.one(tx.connection, tx.surface, made.chat_id)
        return _reply(record, status=201 if made.chat_id in minted else 200)

    return await call.write(make, name="chat.make", key=key, content=body)


def _as_it_stands(tx: Tx, place: Place) -> ChatRecord | None:
    if chats.find(tx.connection, place) is None:
        return None
    return chats.record_at(tx.connection, place)


def _adopt(tx: Tx, place: Place, adopted: Adopted) -> Reply:
    given = adopted.session
    session = Session(
        session_id=SessionId(given.session_id),
        chat_id=ChatId(adopted.chat_id),
        thread_id=ThreadId(given.thread_id),
        started_ms=given.started_ms,
    )
    try:
        found, made = chats.adopt(
            tx.connection, Chat(ChatId(adopted.chat_id), place, session), tx.mint, tx.now_ms
        )
    except PlatformError as error:
        if error.code != "conflict":
            raise
        kept = chats.record_at(tx.connection, place)
        details = None if kept is None else {"kept": chat(kept).model_dump(mode="json")}
        raise Problem(409, "conflict", error.message, details=details) from error
    return _reply(found, status=201 if made else 200)


@router.get(
    "/chats",
    response_model=Page[ChatGiven],
    summary="Chats of a surface",
    responses=reading(),
)
async def list_chats(request: Request, query: Annotated[ChatsAsked, Query()]) -> Response:
    """By id, in pages: all, or those that fit."""
    call = call_of(request, "chats", query.surface)
    cut = Cut(query.cursor, query.limit)
    found = await call.read(
        lambda tx: chats.page(
            tx.connection,
            tx.surface,
            cut,
            account=query.account,
            room=query.room,
            user=query.user,
            archived=query.archived,
        )
    )
    items = [chat(one) for one in found.items]
    return reply(Page[ChatGiven](items=items, next_cursor=found.cursor)).response()


@router.get("/chats/{chat_id}", response_model=ChatGiven, summary="A chat", responses=reading(404))
async def get_chat(request: Request, chat_id: Key, query: Annotated[Asked, Query()]) -> Response:
    """With its current session."""
    call = call_of(request, "chats", query.surface)
    found = await call.read(lambda tx: chats.one(tx.connection, tx.surface, ChatId(chat_id)))
    return _reply(found).response()


@router.patch(
    "/chats/{chat_id}",
    response_model=ChatGiven,
    summary="Rename or archive a chat",
    responses=writing(404, 412, 428),
)
async def patch_chat(
    request: Request,
    chat_id: Key,
    body: PatchChat,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """What is left out stays."""
    call = call_of(request, "chats", query.surface)
    return await _change(
        call, chat_id, title=body.title, archived=body.archived, key=key, if_match=if_match
    )


@router.post(
    "/chats/{chat_id}/restore",
    response_model=ChatGiven,
    summary="Bring an archived chat back into sight",
    responses=writing(404),
)
async def restore_chat(
    request: Request,
    chat_id: Key,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """Does nothing to one that is in sight."""
    call = call_of(request, "chats", query.surface)
    return await _change(call, chat_id, archived=False, key=key, if_match="*")


@router.post(
    "/chats/{chat_id}/move",
    response_model=ChatGiven,
    summary="Let a chat go on in another place",
    responses=writing(404),
)
async def move_chat(
    request: Request,
    chat_id: Key,
    body: MoveChat,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """What was set for its room goes along, where nothing is set for the new one. Does nothing to
    a chat that is there already; 409 where the place has another one."""
    call = call_of(request, "chats", query.surface)
    place = body.place.of(call.surface)

    def move(tx: Tx) -> Reply:
        found = chats.one(tx.connection, tx.surface, ChatId(chat_id))
        if found.place == place:
            return _reply(found)
        old, new = found.place.room, place.room
        before = settings.isolation_of(tx.connection, tx.surface, old, {})
        settings.move_room(tx.connection, tx.surface, old, new, tx.now_ms)
        after = settings.isolation_of(tx.connection, tx.surface, new, {})
        # The room's settings have moved already where another of its chats went before this one.
        kind = "user" if found.place.user else "thread" if found.place.thread_root else "room"
        renew = after not in (before, kind)
        if not chats.move(tx.connection, found.place, place, renew=renew):
            raise Problem(409, "conflict", "This place has another chat.")
        _note(tx, "chat.moved", chat_id)
        return _reply(chats.one(tx.connection, tx.surface, ChatId(chat_id)), rules=True)

    return await call.write(move, name="chat.move", key=key, content=[chat_id, body.model_dump()])


@router.delete(
    "/chats/{chat_id}",
    status_code=204,
    summary="Delete a chat with its sessions",
    responses=writing(404, 412),
)
async def delete_chat(
    request: Request,
    chat_id: Key,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Its threads are never used again, and the agent erases them."""
    call = call_of(request, "chats", query.surface)

    def delete(tx: Tx) -> Reply:
        found = chats.one(tx.connection, tx.surface, ChatId(chat_id))
        expect(if_match, found.version, needed=False)
        threads = chats.remove(tx.connection, tx.surface, ChatId(chat_id), tx.now_ms, found.version)
        erasure.owe_threads(tx.connection, tx.surface, threads, tx.now_ms)
        _note(tx, "chat.deleted", chat_id)
        return Reply(204, "", debts=True)

    return await call.write(delete, name="chat.delete", key=key, content=[chat_id, if_match])


async def _change(
    call: Call,
    chat_id: str,
    *,
    title: str | None = None,
    archived: bool | None = None,
    key: str | None,
    if_match: str | None,
) -> Response:
    def change(tx: Tx) -> Reply:
        known = chats.one(tx.connection, tx.surface, ChatId(chat_id))
        expect(if_match, known.version)
        found = chats.change(
            tx.connection,
            tx.surface,
            ChatId(chat_id),
            now_ms=tx.now_ms,
            title=title,
            archived=archived,
            expected=known.version,
        )
        if found.title != known.title:
            _note(tx, "chat.renamed", chat_id)
        if found.archived != known.archived:
            _note(tx, "chat.archived" if found.archived else "chat.restored", chat_id)
        return _reply(found)

    content = [chat_id, title, archived, if_match]
    return await call.write(change, name="chat.change", key=key, content=content)


def _note(tx: Tx, action: str, chat_id: str) -> None:
    audit.note(tx.connection, tx.surface, tx.actor, action, chat_id, tx.now_ms)


def _reply(found: ChatRecord, *, status: int = 200, rules: bool = False) -> Reply:
    return reply(chat(found), status=status, etag=found.version, rules=rules)
