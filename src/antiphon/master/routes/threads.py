"""`/threads`: memories at the agent that must never be used again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from antiphon.core.ids import ThreadId
from antiphon.master.calls import Asked, IdempotencyKey, Reply, Tx, call_of, reply
from antiphon.master.docs import reading, writing
from antiphon.master.shapes.chats import ThreadGiven
from antiphon.master.shapes.common import ThreadKey
from antiphon.records import audit, sessions, threads

router = APIRouter(tags=["threads"])


@router.post(
    "/threads/{thread_id}/retire",
    response_model=ThreadGiven,
    summary="Never use a thread again",
    responses=writing(),
)
async def retire_thread(
    request: Request,
    thread_id: ThreadKey,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """Known or not; where it is a chat's current memory, another session begins. A thread of
    another surface is left alone, and the answer is the same."""
    call = call_of(request, "chats", query.surface)

    def retire(tx: Tx) -> Reply:
        thread = ThreadId(thread_id)
        known = threads.is_retired(tx.connection, thread)
        sessions.retire(tx.connection, tx.surface, thread, tx.mint, tx.now_ms)
        if not known and threads.is_retired(tx.connection, thread):
            audit.note(tx.connection, tx.surface, tx.actor, "thread.retired", thread_id, tx.now_ms)
        return reply(ThreadGiven(retired=True))

    return await call.write(retire, name="thread.retire", key=key, content=thread_id)


@router.get(
    "/threads/{thread_id}",
    response_model=ThreadGiven,
    summary="Whether a thread was retired",
    responses=reading(),
)
async def get_thread(
    request: Request, thread_id: ThreadKey, query: Annotated[Asked, Query()]
) -> Response:
    """False for one that nobody knows."""
    call = call_of(request, "chats", query.surface)
    found = await call.read(lambda tx: threads.is_retired(tx.connection, ThreadId(thread_id)))
    return reply(ThreadGiven(retired=found)).response()
