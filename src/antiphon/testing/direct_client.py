"""The real `MatrixClient` over the fake homeserver without a socket: for tests on a virtual loop.

What the client sees is what the wire would show it: bodies as bytes, refusals read from them,
time-outs, requests that the server carries out although nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.http import REQUEST_TIMEOUT_S
from antiphon.adapter.matrix.transport.refusals import refusal
from antiphon.errors import HomeserverUnreachableError
from antiphon.settings import Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Fault
from antiphon.testing.homeserver_handlers import Call, Handle
from antiphon.testing.homeserver_refusal import RefusedError
from antiphon.testing.homeserver_routes import ROUTES, Request
from antiphon.testing.machine_life import Life

LATENCY_S = 0.002
"""Each way."""


class DirectHttp:
    """In the place of `transport.http.Http`."""

    def __init__(self, server: FakeHomeserver, life: Life):
        self.homeserver = "http://fake"
        self.token: Secret | None = None
        self._server = server
        self._life = life

    async def ask(self, what: str, method: str, path: str, **more: Any) -> dict[str, Any]:
        """As `Http.ask`."""
        answer = json.loads(await self.ask_raw(what, method, path, **more))
        assert isinstance(answer, dict)
        return answer

    async def ask_raw(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        authenticated: bool = True,
        most_bytes: int | None = None,
    ) -> bytes:
        """As `Http.ask_raw`."""
        op, parts, handle = _route(method, path.partition("?")[0])
        await self._life.cross(f"request.{op}")
        if op == "send" and parts["room_id"] in self._life.told:
            self._life.wrongs.append(f"sent into a room that it knew it had left: {parts}")
        request = Request(op, None, parts, dict(query or {}), body and json.loads(json.dumps(body)))
        task = asyncio.get_running_loop().create_task(
            self._respond(request, handle), context=contextvars.Context()
        )
        try:
            async with asyncio.timeout(timeout_s):
                answer = await asyncio.shield(task)
        except TimeoutError:
            raise HomeserverUnreachableError(f"No answer within {timeout_s} s ({what}).") from None
        finally:
            if op == "sync" and not task.done():
                task.cancel()  # it changes nothing, and would wait for a long time
        await self._life.cross(f"answer.{op}")
        if answer is None:
            raise HomeserverUnreachableError(f"The connection was cut ({what}).")
        status, headers, raw = answer
        if 200 <= status < 300:
            return raw
        raise refusal(what, status, headers, raw, authenticated=authenticated)

    async def _respond(
        self, request: Request, handle: Handle
    ) -> tuple[int, Mapping[str, str], bytes] | None:
        """What the server does, whoever waits for it; None where the connection is cut."""
        await asyncio.sleep(LATENCY_S)
        server = self._server
        server.requests.append(request)
        server.wake()
        fault = server.faults.take(request.op) or Fault()
        status, raw = 200, b"{}"
        if fault.taken and not fault.late:
            status, raw = await self._carry_out(request, handle)
        if fault.gate is not None:
            await fault.gate.wait()
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault.taken and fault.late:
            status, raw = await self._carry_out(request, handle)
        await asyncio.sleep(LATENCY_S)
        if fault.drop or fault.truncate:
            return None
        if fault.status is not None:
            return fault.status, fault.headers, fault.body
        return status, {}, raw

    async def _carry_out(self, request: Request, handle: Handle) -> tuple[int, bytes]:
        token = self.token.reveal() if self.token is not None else ""
        who = self._server.tokens[token]
        asked = SimpleNamespace(match_info=request.path, query=request.query)
        try:
            answer = await handle(Call(self._server, cast("Any", asked), who, token, request.body))
        except RefusedError as refused:
            return refused.status, json.dumps(refused.body).encode()
        self._server.wake()
        return 200, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def direct_client(server: FakeHomeserver, token: Secret, life: Life) -> MatrixClient:
    """A client of `server`, signed in, whose requests are crossings of `life`."""
    client = MatrixClient("http://fake")
    client._http = cast("Any", DirectHttp(server, life))
    client.use_token(token)
    return client


def _pattern(path: str) -> re.Pattern[str]:
    path = path.replace("{state_key:.*}", "(?P<state_key>.*)")
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_PATTERNS = [(op, method, _pattern(path), handle) for op, method, path, handle in ROUTES]


def _route(method: str, path: str) -> tuple[str, dict[str, str], Handle]:
    for op, known, pattern, handle in _PATTERNS:
        if known == method and (match := pattern.fullmatch(path)):
            return op, {name: unquote(part) for name, part in match.groupdict().items()}, handle
    raise AssertionError(f"the fake homeserver does not know {method} {path}")
