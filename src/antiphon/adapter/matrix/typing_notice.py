"""Typing: shows in a room that an answer is being worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from antiphon.adapter.matrix.beside import while_in
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.errors import HomeserverError, TokenRevokedError
from antiphon.telemetry import logger

DELAY_S = 0.4
"""Answers that are there sooner need no typing notice (each costs the homeserver a request)."""

TIMEOUT_MS = 30_000
RENEW_S = 20.0

OFF_LIMIT_S = 2.0
"""Taking the notice back holds up the lane no longer than this; it ends by itself anyway."""


class TypingNotices:
    """Sends typing notices of one bot; they are a courtesy, so a failed one is only logged."""

    def __init__(self, client: MatrixClient, me: UserId, clock: Clock):
        self._client = client
        self._me = me
        self._clock = clock
        self._log = logger("matrix.typing")

    @asynccontextmanager
    async def shown(self, room_id: RoomId) -> AsyncIterator[None]:
        """Typing is shown in the room while the body runs."""
        async with while_in(self._keep(room_id)):
            yield

    async def _keep(self, room_id: RoomId) -> None:
        await self._clock.sleep(DELAY_S)
        try:
            while True:
                await self._say(room_id, on=True)
                await self._clock.sleep(RENEW_S)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(OFF_LIMIT_S):
                    await self._say(room_id, on=False)

    async def _say(self, room_id: RoomId, *, on: bool) -> None:
        try:
            await self._client.typing(room_id, self._me, on, TIMEOUT_MS)
        except TokenRevokedError:
            raise
        except HomeserverError as error:
            self._log.debug("typing_failed", room=room_id, error=error.message)
