"""`/settings` and `/resolve`: what is set where, and what applies to a question."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from antiphon.core.chat_settings import SETTINGS, check
from antiphon.core.ids import EventId, RoomId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope, ScopeKind, scopes_of
from antiphon.errors import SettingsError
from antiphon.master.calls import (
    Call,
    IdempotencyKey,
    IfMatch,
    Reply,
    Tx,
    call_of,
    reply,
    version_of,
)
from antiphon.master.docs import reading, writing
from antiphon.master.shapes.settings import (
    DeclaredSettings,
    PutSetting,
    ResolveAsked,
    ResolvedSettings,
    SettingGiven,
    SettingKey,
    SettingsAsked,
    SettingsGiven,
    SettingTaken,
    SubjectAsked,
    declared,
    scope_of,
    setting,
)
from antiphon.records import people, settings

router = APIRouter(tags=["settings"])


@router.get(
    "/settings/declared",
    response_model=DeclaredSettings,
    summary="All settings that there are",
    responses=reading(),
)
async def declared_settings(request: Request) -> Response:
    """What each may be, where it may be set, and who may change it."""
    request.state.principal.require("settings")
    return reply(declared()).response()


@router.get(
    "/settings",
    response_model=SettingsGiven,
    summary="What is set in a scope",
    responses=reading(),
)
async def list_settings(request: Request, query: Annotated[SettingsAsked, Query()]) -> Response:
    """And only there, by key."""
    call = call_of(request, "settings", query.surface)
    scope = scope_of(query.scope, call.surface, query.subject)
    found = await call.read(lambda tx: settings.records_of(tx.connection, scope))
    return reply(SettingsGiven(items=[setting(one.key, one) for one in found])).response()


@router.put(
    "/settings/{scope}/{key}",
    response_model=SettingGiven,
    summary="Set a setting",
    responses=writing(412),
)
async def put_setting(
    request: Request,
    scope: ScopeKind,
    key: SettingKey,
    body: PutSetting,
    query: Annotated[SubjectAsked, Query()],
    request_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """A change of `isolation` lets every chat that it concerns begin another session. `If-Match`
    may say which version is meant; `"0"`: that nothing is set yet."""
    call, where = _call(request, scope, query)
    return await _write(call, where, key, body.value, body.by, request_key, if_match)


@router.delete(
    "/settings/{scope}/{key}",
    response_model=SettingGiven,
    summary="Unset a setting",
    responses=writing(412),
)
async def delete_setting(
    request: Request,
    scope: ScopeKind,
    key: SettingKey,
    query: Annotated[SettingTaken, Query()],
    request_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """The next wider scope counts then. Nothing to do is fine."""
    call, where = _call(request, scope, query)
    return await _write(call, where, key, None, query.by, request_key, if_match)


@router.get(
    "/resolve",
    response_model=ResolvedSettings,
    response_model_exclude_unset=True,
    summary="What applies to a question",
    responses=reading(),
)
async def resolve(request: Request, query: Annotated[ResolveAsked, Query()]) -> Response:
    """After all scopes: what some scope sets, and nothing else. Notes that the person was seen."""
    call = call_of(request, "settings", query.surface)
    person = UserId(query.user_id)
    place = Place(
        surface=call.surface,
        account=UserId(""),
        room=RoomId(query.room),
        thread_root=None if query.thread_root is None else EventId(query.thread_root),
    )

    def look(tx: Tx) -> tuple[bool, list[tuple[Scope, str, Any]]]:
        known = people.is_known(tx.connection, tx.surface, person)
        return known, settings.read(tx.connection, scopes_of(place, person))

    def note(tx: Tx) -> Reply:
        people.note(tx.connection, tx.surface, person, tx.now_ms)
        return Reply(200, "")

    known, found = await call.read(look)
    if not known:
        await call.write(note)
    narrow_last = sorted(
        found, key=lambda one: ("platform", "surface", "room", "user").index(one[0].kind)
    )
    values = {key: value for _, key, value in narrow_last if _allowed(key, value)}
    return Reply(200, msgspec.json.encode(values).decode()).response()


def _allowed(key: str, value: Any) -> bool:
    """Whether this version knows the setting and the value."""
    try:
        check(key, value)
    except SettingsError:
        return False
    return key in SETTINGS


def _call(request: Request, kind: ScopeKind, query: SubjectAsked) -> tuple[Call, Scope]:
    call = call_of(request, "settings", query.surface)
    if kind == "platform":
        call.principal.require("platform")
    return call, scope_of(kind, call.surface, query.subject)


async def _write(
    call: Call,
    scope: Scope,
    key: str,
    value: Any,
    by: str | None,
    request_key: str | None,
    if_match: str | None,
) -> Response:
    def write(tx: Tx) -> Reply:
        found = settings.write(
            tx.connection,
            scope,
            key,
            value,
            by=tx.actor,
            now_ms=tx.now_ms,
            base={},
            expected=version_of(if_match),
        )
        given = setting(key, found)
        about = scope.subject if scope.kind == "user" else ""
        return Reply(200, given.model_dump_json(), given.version, rules=True, about=about)

    content = [msgspec.to_builtins(scope), key, value, by, if_match]
    return await call.write(write, name="setting", key=request_key, content=content, by=by)
