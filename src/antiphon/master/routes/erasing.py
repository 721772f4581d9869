"""`DELETE /users/{user_id}`: erases a person here, and has the agent erase what they said."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response

from antiphon import telemetry
from antiphon.core.ids import ThreadId, UserId
from antiphon.core.people import Forgotten
from antiphon.errors import DatabaseError
from antiphon.master.calls import Asked, Call, IdempotencyKey, Reply, Tx, call_of, reply
from antiphon.master.docs import writing
from antiphon.master.shapes.common import InPath
from antiphon.master.shapes.users import Erased, Owed
from antiphon.records import answers, chats, erasure, owed
from antiphon.records.pages import MAX_LIMIT, Cut

router = APIRouter(tags=["users"])

WAIT_S: Final = 1.5
"""Seconds that the answer waits for the agent, fewer than any surface waits for the answer; what is
owed then goes on without it."""


@router.delete(
    "/users/{user_id}",
    response_model=Erased,
    summary="Erase a person",
    responses=writing(),
)
async def erase_user(
    request: Request,
    user_id: InPath,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """Their chats, settings, usage and roles (a block stays), and at the agent what they said. The
    answer says what was erased and what the agent still owes, which is tried until it is done."""
    call = call_of(request, "erase", query.surface)
    person = UserId(user_id)

    def erase(tx: Tx) -> Reply:
        texts = [person, *_own_chats(tx, person)]
        forgotten = erasure.forget_user(
            tx.connection, tx.surface, person, tx.now_ms, by=tx.actor, owe=True
        )
        answers.erase(tx.connection, tx.surface, texts)
        body = msgspec.json.encode(forgotten).decode()
        return Reply(200, body, rules=True, debts=True)

    done = await call.write(erase, name="user.erase", key=key, content=person)
    try:
        await call.parts.database.scrub()
    except DatabaseError as error:
        # It is overwritten at the next erasure or start, at the latest.
        telemetry.logger("master.eraser").warning("not scrubbed yet", error=error.message)
    forgotten = msgspec.json.decode(bytes(done.body), type=Forgotten)
    left = await _paid(call, person, forgotten)
    both = [(thread, False) for thread in forgotten.threads]
    both += [(thread, True) for thread in forgotten.shared]
    erased = Erased(
        chats=forgotten.chats,
        settings=forgotten.settings,
        usage=forgotten.usage,
        threads=list(forgotten.threads),
        shared=list(forgotten.shared),
        confirmed=[_owed(*one) for one in both if one not in left],
        owed=[_owed(*one) for one in both if one in left],
    )
    return reply(erased).response()


def _owed(thread: ThreadId, author: bool) -> Owed:
    return Owed(thread_id=thread, author=author)


def _own_chats(tx: Tx, person: UserId) -> list[str]:
    """The ids of chats that are theirs alone."""
    found: list[str] = []
    cut = Cut(None, MAX_LIMIT)
    while True:
        page = chats.page(tx.connection, tx.surface, cut, user=person)
        found += [chat.chat_id for chat in page.items]
        if page.cursor is None:
            return found
        cut = Cut(page.cursor, MAX_LIMIT)


async def _paid(call: Call, person: UserId, forgotten: Forgotten) -> set[tuple[ThreadId, bool]]:
    """Waits a while for the agent; what it still owes then."""
    parts = call.parts
    until = parts.clock.monotonic() + (WAIT_S if parts.has_agent else 0)
    while True:
        told = parts.paid.told()
        left = await call.read(
            lambda tx: owed.still_owed(tx.connection, tx.surface, person, forgotten.threads)
        )
        rest = until - parts.clock.monotonic()
        if not left or rest <= 0 or parts.stopping.is_set():
            return left
        try:
            async with asyncio.timeout(rest):
                await told.wait()
        except TimeoutError:
            continue
