"""Leaving and forgetting rooms on the homeserver, within its limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from antiphon.adapter.matrix.beside import each
from antiphon.adapter.matrix.reset.result import Refused
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError

AT_A_TIME = 4
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Waits before a homeserver that does not answer is asked again; after the last it is given up."""

Progress = Callable[[int, int, float], None]
"""Rooms done, rooms in all, seconds left as far as can be told."""


class Leaving:
    """Leaves rooms, some at a time; a limit holds for all of them."""

    def __init__(self, client: MatrixClient, clock: Clock, progress: Progress):
        self._client = client
        self._clock = clock
        self._progress = progress
        self._free_at_ms = 0

    async def run(self, room_ids: Sequence[RoomId]) -> list[Refused]:
        """Leaves (or declines) and forgets each room; those that the homeserver does not let go.
        A room that was left before is only forgotten. Raises HomeserverUnreachableError when it
        stays away, and TokenRevokedError."""
        refused: list[Refused] = []
        began, done = self._clock.monotonic(), 0

        async def leave(room_id: RoomId) -> None:
            nonlocal done
            reason = await self._one(room_id)
            if reason is not None:
                refused.append(Refused(room_id, reason))
            done += 1
            left = (self._clock.monotonic() - began) / done * (len(room_ids) - done)
            self._progress(done, len(room_ids), left)
            crash_point("reset.room_left")

        await each(leave, room_ids, AT_A_TIME)
        return sorted(refused, key=lambda entry: entry.room_id)

    async def _one(self, room_id: RoomId) -> str | None:
        """Why the room could not be left, or None."""
        why: MatrixApiError | None = None
        try:
            await self._patiently(lambda: self._client.leave(room_id))
        except MatrixApiError as error:
            why = error  # perhaps we are not in it: then it can be forgotten
        try:
            await self._patiently(lambda: self._client.forget(room_id))
        except MatrixApiError as error:
            return (why or error).message
        return None

    async def _patiently(self, request: Callable[[], Awaitable[None]]) -> None:
        pauses = iter(PAUSES_S)
        while True:
            wait_ms = self._free_at_ms - self._clock.now_ms()
            if wait_ms > 0:
                await self._clock.sleep(wait_ms / 1000)
                continue
            try:
                return await request()
            except RateLimitedError as error:
                self._free_at_ms = max(
                    self._free_at_ms, self._clock.now_ms() + error.retry_after_ms
                )
            except HomeserverUnreachableError:
                pause = next(pauses, None)
                if pause is None:
                    raise
                await self._clock.sleep(pause)
