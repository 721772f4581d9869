"""The HTTP face of the fake homeserver: tokens, the recording of requests, and the faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from antiphon.testing import homeserver_handlers, homeserver_key_handlers
from antiphon.testing.homeserver_faults import Fault
from antiphon.testing.homeserver_handlers import Call, File, Handle
from antiphon.testing.homeserver_refusal import RefusedError

if TYPE_CHECKING:
    from antiphon.testing.homeserver import FakeHomeserver

_JSON = "application/json"
_OPEN = frozenset({"versions", "federation_version", "synapse_version", "login_flows", "login"})


ROUTES = [*homeserver_handlers.ROUTES, *homeserver_key_handlers.ROUTES]
"""Operation, method, path and handler of all that the fake knows."""


class Request(msgspec.Struct, frozen=True):
    """A request that came, faults included. `op` as in `homeserver_faults.Op`; `path` holds the
    path's parts (`room_id`, `event_id`, `txn_id`, …)."""

    op: str
    user_id: str | None
    path: dict[str, str]
    query: dict[str, str]
    body: Any


def add_to(app: web.Application, server: FakeHomeserver) -> None:
    """Adds every route of the client-server API that the fake knows."""
    for op, method, path, handle in ROUTES:
        app.router.add_route(method, path, _with_faults(server, op, handle))


def _with_faults(
    server: FakeHomeserver, op: str, handle: Handle
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw and op != "media_upload" else None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        who = server.tokens.get(token)
        server.requests.append(
            Request(
                op, who[0] if who else None, dict(request.match_info), dict(request.query), body
            )
        )
        server.wake()
        fault = server.faults.take(op) or Fault()
        status, answer = 200, File(b"", _JSON)
        if fault.taken and not fault.late:
            status, answer = await _answer(server, op, handle, request, token, body, raw)
        if fault.gate is not None:
            await fault.gate.wait()
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.taken and fault.late:
            status, answer = await _answer(server, op, handle, request, token, body, raw)
        if fault.drop:
            return _cut(request)
        if fault.truncate:
            return await _cut_in_the_middle(request, answer.body)
        if fault.status is not None:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        return web.Response(status=status, body=answer.body, content_type=answer.mime)

    return respond


async def _answer(
    server: FakeHomeserver,
    op: str,
    handle: Handle,
    request: web.Request,
    token: str,
    body: Any,
    raw: bytes,
) -> tuple[int, File]:
    try:
        call = Call(server, request, _who(server, op, token), token, body, raw)
        answer = await handle(call)
    except RefusedError as refused:
        return refused.status, File(json.dumps(refused.body).encode(), _JSON)
    server.wake()
    if isinstance(answer, File):
        return 200, answer
    return 200, File(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), _JSON)


def _who(server: FakeHomeserver, op: str, token: str) -> tuple[str, str]:
    who = server.tokens.get(token)
    if who is None and op not in _OPEN:
        raise RefusedError(401, "M_UNKNOWN_TOKEN" if token else "M_MISSING_TOKEN")
    return who or ("", "")


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut_in_the_middle(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(answer)
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
