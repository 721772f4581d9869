"""`/usage`: what runs used, counted once and summed; `/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from antiphon.core.ids import RoomId, UserId
from antiphon.core.people import UsageSum
from antiphon.master.calls import Asked, IdempotencyKey, Reply, Tx, call_of, reply
from antiphon.master.docs import reading, writing
from antiphon.master.scopes import EVERY_SURFACE
from antiphon.master.shapes.common import Page, PageAsked
from antiphon.master.shapes.usage import (
    AddUsage,
    AuditGiven,
    UsageAsked,
    UsageGiven,
    UsageTaken,
    line,
    used,
)
from antiphon.records import audit, usage
from antiphon.records.pages import Cut
from antiphon.records.values import UsageDay

router = APIRouter(tags=["usage"])


@router.post(
    "/usage", response_model=UsageTaken, summary="Count what runs used", responses=writing()
)
async def add_usage(
    request: Request,
    body: AddUsage,
    query: Annotated[Asked, Query()],
    key: IdempotencyKey = None,
) -> Response:
    """Each run is counted once, however often it is told."""
    call = call_of(request, "usage", query.surface)
    entries = tuple(entry.of() for entry in body.entries)

    def add(tx: Tx) -> Reply:
        usage.add(tx.connection, tx.surface, entries)
        return reply(UsageTaken(taken=len(entries)))

    return await call.write(add, name="usage", key=key, content=body)


@router.get("/usage", response_model=UsageGiven, summary="What was used", responses=reading())
async def get_usage(request: Request, query: Annotated[UsageAsked, Query()]) -> Response:
    """Since a time, by a person, in a room, or all of these; with `by=day` day by day, too."""
    call = call_of(request, "usage", query.surface)
    person = None if query.user_id is None else UserId(query.user_id)
    room = None if query.room is None else RoomId(query.room)

    def look(tx: Tx) -> tuple[UsageSum, tuple[UsageDay, ...] | None]:
        which = (tx.surface, query.since_ms, person, room)
        days = usage.by_day(tx.connection, *which) if query.by == "day" else None
        return usage.total(tx.connection, *which), days

    return reply(used(*await call.read(look))).response()


@router.get(
    "/audit",
    response_model=Page[AuditGiven],
    summary="Who changed what",
    tags=["audit"],
    responses=reading(),
)
async def get_audit(request: Request, query: Annotated[PageAsked, Query()]) -> Response:
    """Newest first, in pages. An operator who names no surface sees those of all."""
    principal = request.state.principal
    everything = principal.surface == EVERY_SURFACE and query.surface is None
    call = call_of(request, "audit", EVERY_SURFACE if everything else query.surface)
    surface = None if everything else call.surface
    cut = Cut(query.cursor, query.limit)
    found = await call.read(lambda tx: audit.page(tx.connection, surface, cut))
    items = [line(one) for one in found.items]
    return reply(Page[AuditGiven](items=items, next_cursor=found.cursor)).response()
