"""A control plane in this process: the real service on a real port, which can be stopped and
started again at the same address, with a token for each surface."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from antiphon.clock import SystemChance, SystemClock
from antiphon.master import app, tokens
from antiphon.master.scopes import OF_A_SURFACE
from antiphon.settings import General, MasterSettings, Secret

SCOPES = (*OF_A_SURFACE, "platform")


class ControlPlane:
    """Use as an async context manager; it serves then. `url` stays the same over its lives."""

    def __init__(self, folder: Path, *, database: str = "", agent_url: str = ""):
        folder.mkdir(parents=True, exist_ok=True)
        self._general = General(state_dir=str(folder))
        self._settings = MasterSettings(
            port=0, database=database, agent_url=agent_url, token=Secret("a-token-of-the-settings")
        )
        self._port = 0
        self.url = ""
        self._stop = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._made: dict[tuple[str, tuple[str, ...]], str] = {}

    async def __aenter__(self) -> ControlPlane:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serves, at the address of its earlier lives."""
        self._stop = asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        settings = msgspec.structs.replace(self._settings, port=self._port)
        self._life = asyncio.create_task(
            app.serve(self._general, settings, stop=self._stop, ready=ready.set_result)
        )
        both: list[asyncio.Future[Any]] = [ready, self._life]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self._life
        self.url = ready.result()
        self._port = int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        """Ends in order; idempotent."""
        life, self._life = self._life, None
        if life is not None:
            self._stop.set()
            await life

    async def token(self, surface: str = "matrix", scopes: tuple[str, ...] = SCOPES) -> str:
        """A token of a surface; the same for the same one."""
        if (surface, scopes) not in self._made:
            async with tokens.open_database(self._general, self._settings) as database:
                _, token = await tokens.make(
                    database,
                    surface=surface,
                    scopes=scopes,
                    note="test",
                    clock=SystemClock(),
                    chance=SystemChance(),
                )
            self._made[surface, scopes] = token
        return self._made[surface, scopes]

    async def revoke_all(self) -> None:
        """Every token is worth nothing from now on."""
        async with tokens.open_database(self._general, self._settings) as database:
            for row in await tokens.all_of(database):
                await tokens.revoke(database, row.token_id, clock=SystemClock())
        self._made.clear()
