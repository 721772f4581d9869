"""A reverse proxy between the adapter and a real homeserver that loses, delays, cuts, repeats and
forges answers, as a seed decides. The connection to the agent has its own (`fault_proxy_tcp`).
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from antiphon.testing.homeserver_faults import Fault

_KINDS = (
    ("send", re.compile(r"PUT .*/rooms/[^/]+/send/")),
    ("redact", re.compile(r"PUT .*/rooms/[^/]+/redact/")),
    ("typing", re.compile(r"PUT .*/typing/")),
    ("sync", re.compile(r"GET .*/v3/sync")),
    ("messages", re.compile(r"GET .*/rooms/[^/]+/messages")),
    ("join", re.compile(r"POST .*/join(/|$)")),
    ("leave", re.compile(r"POST .*/leave$")),
    ("joined_rooms", re.compile(r"GET .*/joined_rooms$")),
    ("login", re.compile(r"POST .*/login$")),
    ("keys", re.compile(r"POST .*/keys/(upload|query|claim)")),
    ("to_device", re.compile(r"PUT .*/sendToDevice/")),
    ("whoami", re.compile(r"GET .*/account/whoami$")),
)
HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host"})


def kind_of(method: str, path: str) -> str:
    """What a request is: `send`, `sync`, `join`, …; `other` where none of them."""
    line = f"{method} {path}"
    return next((kind for kind, pattern in _KINDS if pattern.match(line)), "other")


class Rule(msgspec.Struct):
    """Which requests meet a fault: those of `kinds`, each with probability `chance`, at most
    `times` of them.

    `stale` (of syncs) answers with the response before, again; `double` puts the events of every
    timeline into it twice."""

    kinds: tuple[str, ...]
    fault: Fault = Fault()
    chance: float = 1.0
    times: int = 1_000_000
    stale: bool = False
    double: bool = False

    @property
    def name(self) -> str:
        """For counting."""
        if self.stale or self.double:
            return "stale" if self.stale else "double"
        fault = self.fault
        if fault.late:
            return "late"
        if fault.drop:
            return "lost_response" if fault.taken else "lost_request"
        if fault.truncate:
            return "truncated"
        if fault.status is not None:
            return f"status_{fault.status}"
        return "slow"


class FaultProxy:
    """Listens on `url` and passes on to `upstream`; an async context manager.

    `rules` may be changed at any time; the first one that hits decides. `played` counts what was
    done, `requests` what came, by kind."""

    def __init__(self, upstream: str, *, seed: object = 0, rules: list[Rule] | None = None):
        self.upstream = upstream
        self.url = ""
        self.rules: list[Rule] = rules or []
        self.uncached = False
        """Whether first syncs get by Synapse's cache, which answers the same question with the same
        response for two minutes (measured)."""
        self.played: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._chance = random.Random(f"proxy:{seed}")  # noqa: S311 - repeatable on purpose
        self._last_sync: bytes | None = None
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._late: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> FaultProxy:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = kind_of(request.method, request.path)
        self.requests[kind] += 1
        rule = self._hit(kind)
        fault = rule.fault if rule else Fault()
        if rule is not None and rule.stale and self._last_sync is not None:
            return web.Response(body=self._last_sync, content_type="application/json")
        if fault.late and fault.drop:
            self._later(request, body, fault)
            return self._cut(request)
        status, answer = 502, b""
        headers: dict[str, str] = {}
        if fault.taken or fault.late:
            try:
                status, headers, answer = await self._carried_out(request, body, fault)
            except aiohttp.ClientError:
                return self._cut(request)  # the homeserver is away: so are we
        elif fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if rule is not None and rule.double:
            answer = doubled(answer)
        if kind == "sync" and status == 200:
            self._last_sync = answer
        if fault.drop:
            return self._cut(request)
        if fault.status is not None:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        if fault.truncate:
            return await self._truncated(request, status, headers, answer)
        return web.Response(status=status, headers=headers, body=answer)

    def _hit(self, kind: str) -> Rule | None:
        for rule in self.rules:
            if kind in rule.kinds and rule.times > 0 and self._chance.random() < rule.chance:
                if rule.stale and self._last_sync is None:
                    continue
                rule.times -= 1
                self.played[f"{kind}:{rule.name}"] += 1
                return rule
        return None

    async def _carried_out(
        self, request: web.Request, body: bytes, fault: Fault
    ) -> tuple[int, dict[str, str], bytes]:
        """The homeserver's answer; what is to be carried out is, even if the client gives up."""
        if not (fault.late or fault.delay_s or fault.drop):
            return await self._forward(request, body)
        return await asyncio.shield(self._later(request, body, fault))

    def _later(
        self, request: web.Request, body: bytes, fault: Fault
    ) -> asyncio.Task[tuple[int, dict[str, str], bytes]]:
        task = asyncio.ensure_future(self._forward_late(request, body, fault))
        self._late.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # read: a homeserver that is away takes nothing

    async def _forward_late(
        self, request: web.Request, body: bytes, fault: Fault
    ) -> tuple[int, dict[str, str], bytes]:
        if fault.late:
            await asyncio.sleep(fault.delay_s)
        answer = await self._forward(request, body)
        if not fault.late:
            await asyncio.sleep(fault.delay_s)
        return answer

    async def _forward(
        self, request: web.Request, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method,
            self.upstream + self._target(request),
            data=body or None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            return answer.status, kept, await answer.read()

    def _target(self, request: web.Request) -> str:
        path = request.raw_path
        first_sync = kind_of(request.method, request.path) == "sync" and "since=" not in path
        if self.uncached and first_sync:
            # A time-out of a few milliseconds more makes it another question.
            path = re.sub(r"\btimeout=\d+", f"timeout={self.requests['sync']}", path)
        return path

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    @staticmethod
    async def _truncated(
        request: web.Request, status: int, headers: dict[str, str], body: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        with suppress(ConnectionError):
            await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response


def doubled(body: bytes) -> bytes:
    """A sync response in which every timeline event comes twice; what can't be read stays."""
    try:
        response = msgspec.json.decode(body)
        joined = response["rooms"]["join"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return body
    for room in joined.values():
        timeline = room.get("timeline", {})
        timeline["events"] = [event for event in timeline.get("events", []) for _ in range(2)]
    return msgspec.json.encode(response)
