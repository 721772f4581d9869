"""`/roles`: who may what, given while running, by id or glob."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from antiphon.core.access import AllowList
from antiphon.core.people import Role
from antiphon.errors import SettingsError
from antiphon.master.calls import (
    Asked,
    IdempotencyKey,
    IfMatch,
    Reply,
    Tx,
    call_of,
    reply,
    version_of,
)
from antiphon.master.docs import reading, writing
from antiphon.master.problems import Problem
from antiphon.master.shapes.users import (
    PutRole,
    RoleAsked,
    RoleGiven,
    Roles,
    RoleTaken,
    role,
)
from antiphon.records import roles

router = APIRouter(tags=["roles"])


@router.get("/roles", response_model=Roles, summary="All roles", responses=reading())
async def list_roles(request: Request, query: Annotated[Asked, Query()]) -> Response:
    """That were given while running, by pattern."""
    call = call_of(request, "users", query.surface)
    found = await call.read(lambda tx: roles.all_of(tx.connection, tx.surface))
    return reply(Roles(items=[role(one.pattern, one) for one in found])).response()


@router.put("/roles", response_model=RoleGiven, summary="Give a role", responses=writing(412))
async def put_role(
    request: Request,
    body: PutRole,
    query: Annotated[RoleAsked, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """To the people of a pattern. `If-Match` may say which version is meant; `"0"`: none yet."""
    return await _write(request, query, body.role, body.by, key, if_match)


@router.delete(
    "/roles", response_model=RoleGiven, summary="Take a role back", responses=writing(412)
)
async def delete_role(
    request: Request,
    query: Annotated[RoleTaken, Query()],
    key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Nothing to do is fine."""
    return await _write(request, query, None, query.by, key, if_match)


async def _write(
    request: Request,
    query: RoleAsked,
    given: Role | None,
    by: str | None,
    key: str | None,
    if_match: str | None,
) -> Response:
    call = call_of(request, "users", query.surface)
    pattern = query.pattern
    if given is not None:
        _check(pattern)

    def write(tx: Tx) -> Reply:
        found = roles.write(
            tx.connection,
            tx.surface,
            pattern,
            given,
            by=tx.actor,
            now_ms=tx.now_ms,
            expected=version_of(if_match),
        )
        shown = role(pattern, found)
        return reply(shown, etag=shown.version, rules=True)

    content = [pattern, given, by, if_match]
    return await call.write(write, name="role", key=key, content=content, by=by)


def _check(pattern: str) -> None:
    try:
        AllowList((pattern,), "pattern")
    except SettingsError as error:
        raise Problem(422, "bad_pattern", error.message) from error
