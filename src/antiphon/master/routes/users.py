"""`/users`: people of a surface, known, changed, exported. Erasing them is in `erasing`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from antiphon.core.ids import UserId
from antiphon.errors import PlatformError
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
from antiphon.master.shapes.common import InPath, Page, PageAsked
from antiphon.master.shapes.users import Exported, PatchUser, PutUser, UserGiven, user
from antiphon.records import export, people
from antiphon.records.pages import Cut
from antiphon.records.values import UserRecord

router = APIRouter(tags=["users"])


@router.get(
    "/users",
    response_model=Page[UserGiven],
    summary="The people of a surface",
    responses=reading(),
)
async def list_users(request: Request, query: Annotated[PageAsked, Query()]) -> Response:
    """By id, in pages."""
    call = call_of(request, "users", query.surface)
    cut = Cut(query.cursor, query.limit)
    found = await call.read(lambda tx: people.page(tx.connection, tx.surface, cut))
    items = [user(one) for one in found.items]
    return reply(Page[UserGiven](items=items, next_cursor=found.cursor)).response()


@router.get(
    "/users/{user_id}",
    response_model=UserGiven,
    summary="A person",
    responses=reading(404),
)
async def get_user(request: Request, user_id: InPath, query: Annotated[Asked, Query()]) -> Response:
    """With their role, if one was given to this very id."""
    call = call_of(request, "users", query.surface)
    found = await call.read(lambda tx: people.one(tx.connection, tx.surface, UserId(user_id)))
    return reply(user(found), etag=found.version).response()


@router.put(
    "/users/{user_id}",
    response_model=UserGiven,
    summary="Make a person known, or replace what is known of them",
    responses={201: {"model": UserGiven, "description": "New"}, **writing(412, 428)},
)
async def put_user(
    request: Request,
    user_id: InPath,
    body: PutUser,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Over one that is there, `If-Match` is needed."""
    call = call_of(request, "users", query.surface)
    person = UserId(user_id)

    def put(tx: Tx) -> Reply:
        known = _known(tx, person)
        if known is not None:
            expect(if_match, known.version)
        elif if_match is not None:
            raise Problem(412, "stale", "There is no such user.", details={"version": 0})
        found, made = people.put(
            tx.connection,
            tx.surface,
            person,
            name=body.name,
            role=body.role,
            by=tx.actor,
            now_ms=tx.now_ms,
            expected=None if known is None else known.version,
        )
        return reply(user(found), status=201 if made else 200, etag=found.version, rules=True)

    return await call.write(
        put, name="user.put", key=key, content=[person, body.model_dump(mode="json"), if_match]
    )


@router.patch(
    "/users/{user_id}",
    response_model=UserGiven,
    summary="Change a person's name or role",
    responses=writing(404, 412, 428),
)
async def patch_user(
    request: Request,
    user_id: InPath,
    body: PatchUser,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """What is left out stays; `"role": null` takes the role back."""
    call = call_of(request, "users", query.surface)
    person = UserId(user_id)

    def patch(tx: Tx) -> Reply:
        known = people.one(tx.connection, tx.surface, person)
        expect(if_match, known.version)
        found = people.change(
            tx.connection,
            tx.surface,
            person,
            name=body.name,
            role=body.role,
            keep_role="role" not in body.model_fields_set,
            by=tx.actor,
            now_ms=tx.now_ms,
            expected=known.version,
        )
        return reply(user(found), etag=found.version, rules=True)

    content = [person, body.model_dump(mode="json", exclude_unset=True), if_match]
    return await call.write(patch, name="user.patch", key=key, content=content)


@router.get(
    "/users/{user_id}/export",
    response_model=Exported,
    summary="All that is kept of a person",
    responses=reading(),
)
async def export_user(
    request: Request, user_id: InPath, query: Annotated[Asked, Query()]
) -> Response:
    """Here; what they said is at the agent."""
    call = call_of(request, "export", query.surface)
    found = await call.read(
        lambda tx: export.export_user(tx.connection, tx.surface, UserId(user_id))
    )
    return Reply(200, msgspec.json.encode(found).decode()).response()


def _known(tx: Tx, person: UserId) -> UserRecord | None:
    try:
        return people.one(tx.connection, tx.surface, person)
    except PlatformError as error:
        if error.code != "unknown_user":
            raise
        return None
