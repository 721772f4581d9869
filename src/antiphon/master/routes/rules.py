"""`GET /rules`: what a surface must know before it looks at any message, as soon as it changes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response

from antiphon.core.rules import Rules
from antiphon.master.calls import Call, Reply, call_of
from antiphon.master.docs import reading
from antiphon.master.shapes.settings import RulesAsked, RulesGiven
from antiphon.records import rules

router = APIRouter(tags=["rules"])

LOOK_AGAIN_S: Final = 2.0
"""Seconds after which whoever waits looks again, for changes that another process made."""


@router.get("/rules", response_model=RulesGiven, summary="The rules", responses=reading())
async def get_rules(request: Request, query: Annotated[RulesAsked, Query()]) -> Response:
    """At once, or, with `after` and `wait`, as soon as they are others than those of `after`; the
    same ones again when the wait is over."""
    call = call_of(request, "settings", query.surface)
    if query.after is not None and query.wait:
        await _others(call, query.after, query.wait)
    found: Rules = await call.read(lambda tx: rules.read(tx.connection, tx.surface, {}))
    return Reply(200, msgspec.json.encode(found).decode()).response()


async def _others(call: Call, after: str, wait_s: float) -> None:
    """Returns when the version is another one than `after`, or the wait is over."""
    clock, parts = call.parts.clock, call.parts
    until = clock.monotonic() + wait_s
    while not parts.stopping.is_set():
        told = parts.changes.told()  # before looking: a change after the look is told
        now = await call.read(lambda tx: rules.version(tx.connection, tx.surface))
        left = until - clock.monotonic()
        if now != after or left <= 0:
            return
        try:
            async with asyncio.timeout(min(left, LOOK_AGAIN_S)):
                await told.wait()
        except TimeoutError:
            continue
