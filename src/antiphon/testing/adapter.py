"""`AdapterUnderTest`: the whole Matrix adapter in this process, over any homeserver and platform.

Each `running()` is one life of it over the same state folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.service import serve
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock, SystemClock
from antiphon.core.ids import UserId
from antiphon.sdk.interface import Platform
from antiphon.settings import MatrixSettings, Secret


class AdapterUnderTest:
    """Settings and state of one bot; its lives are made by `running`."""

    def __init__(
        self,
        homeserver: str,
        user_id: str,
        token: Secret,
        platform: Platform,
        state: Path,
        *,
        settings: MatrixSettings | None = None,
        device_id: str = "DEVICE",
        clock: Clock | None = None,
        cipher: Cipher | None = None,
    ):
        self.homeserver = homeserver
        self.user_id = UserId(user_id)
        self.token = token
        self.platform = platform
        self.state = state
        self.settings = settings or MatrixSettings(allow=("*",))
        self.device_id = device_id
        self.clock = clock or SystemClock()
        self.cipher = cipher
        self.operations = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[Report]]:
        """One life: ready inside the block, stopped cleanly after it. A failure of the adapter is
        raised at the end of the block, or at its start."""
        stop, ready = asyncio.Event(), asyncio.Event()

        def on_ready(address: str) -> None:
            self.operations = address
            ready.set()

        task = asyncio.create_task(self._run(on_ready, stop))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            yield task
        finally:
            waiting.cancel()
            stop.set()
            await asyncio.wait([task])
        await task

    async def reconcile(self, within_s: float = 10.0) -> Report:
        """A life that ends by itself when nothing is owed any more, or after `within_s`."""
        return await self._run(lambda _: None, asyncio.Event(), until_idle=within_s)

    async def crash(self, task: asyncio.Task[Report]) -> None:
        """Ends a life without any clean-up of the adapter's own (the tasks are cancelled where
        they stand); use inside `running`, then leave the block with `contextlib.suppress`."""
        task.cancel()
        await asyncio.wait([task])

    async def _run(
        self,
        ready: Callable[[str], None],
        stop: asyncio.Event,
        *,
        until_idle: float | None = None,
    ) -> Report:
        async with MatrixClient(self.homeserver) as client:
            client.use_token(self.token)
            return await serve(
                self.settings,
                self.state,
                client,
                self.user_id,
                self.device_id,
                self.platform,
                self.clock,
                ready,
                stop,
                until_idle=until_idle,
                cipher=self.cipher,
            )
