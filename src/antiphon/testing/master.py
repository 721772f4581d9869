"""A control plane for tests: the real service on a real port and database, and a client that speaks
plain HTTP to it, so that what tests see is what goes over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from antiphon.clock import Clock, SystemChance, SystemClock
from antiphon.master import tokens
from antiphon.master.app import serve
from antiphon.master.eraser import Agent
from antiphon.master.scopes import OF_A_SURFACE, SCOPES
from antiphon.settings import General, MasterSettings

OPERATOR = tuple(SCOPES)


class Got(msgspec.Struct, frozen=True):
    """An answer as it came."""

    status: int
    raw: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def code(self) -> str:
        """Of the error."""
        return str(self.json["error"]["code"])

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


class Client:
    """Whoever has a token."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str):
        self._session = session
        self._url = url
        self.token = token

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        match: str | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Got:
        """One request. `path` goes out as it is; `match`: an ETag."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            data, sent["Content-Type"] = msgspec.json.encode(body), "application/json"
        if key is not None:
            sent["Idempotency-Key"] = key
        if match is not None:
            sent["If-Match"] = match
        url = URL(self._url + path, encoded=True)
        async with self._session.request(
            method, url, data=data, headers={**sent, **(headers or {})}
        ) as response:
            return Got(response.status, await response.read(), response.headers)


class Master:
    """A running control plane; `client` makes a token and whoever uses it."""

    def __init__(
        self,
        url: str,
        general: General,
        settings: MasterSettings,
        session: aiohttp.ClientSession,
        stop: asyncio.Event,
    ):
        self.url = url
        self.stop = stop
        self.general = general
        self.settings = settings
        self.session = session

    async def client(
        self, surface: str = "matrix", scopes: tuple[str, ...] = OF_A_SURFACE
    ) -> Client:
        """Somebody with a new token of this surface."""
        _, token = await self.make_token(surface, scopes)
        return self.with_token(token)

    async def operator(self) -> Client:
        """Somebody who may do everything, on every surface."""
        return await self.client("*", OPERATOR)

    def with_token(self, token: str) -> Client:
        return Client(self.session, self.url, token)

    async def make_token(self, surface: str, scopes: tuple[str, ...]) -> tuple[str, str]:
        """Its id and the token."""
        async with tokens.open_database(self.general, self.settings) as database:
            row, token = await tokens.make(
                database,
                surface=surface,
                scopes=scopes,
                note="",
                clock=SystemClock(),
                chance=SystemChance(),
            )
        return row.token_id, token


@asynccontextmanager
async def running_master(
    folder: Path,
    *,
    database: str = "",
    clock: Clock | None = None,
    agent: Agent | None = None,
    **settings: Any,
) -> AsyncIterator[Master]:
    """A control plane on a free port, in this event loop, until the block ends. It has a token by
    its settings, too: `given`."""
    from antiphon.settings import Secret

    own = MasterSettings(
        **{"port": 0, "database": database, "token": Secret("given-token-of-the-tests"), **settings}
    )
    general = General(state_dir=str(folder))
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            serve(general, own, stop=stop, ready=ready.set_result, clock=clock, agent=agent)
        )
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        try:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
                yield Master(ready.result(), general, own, session, stop)
        finally:
            stop.set()


__all__ = ["Client", "Got", "Master", "SystemClock", "running_master"]
