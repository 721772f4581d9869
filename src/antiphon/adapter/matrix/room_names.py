"""Which aliases rooms have by the homeserver's word, where the settings name rooms by alias. What a
room says of itself is looked up; it proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from antiphon.adapter.matrix.journal import rooms
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.policy import Policy
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 30.0
LOOK_AGAIN_S = 300.0
"""How long what was found of a room holds."""


class RoomNames:
    """Looks aliases up and tells the policy."""

    def __init__(
        self,
        client: MatrixClient,
        journal: Journal,
        policy: Policy,
        patterns: Iterable[str],
        clock: Clock,
    ):
        """`patterns`: the settings' list of rooms."""
        self._client = client
        self._journal = journal
        self._policy = policy
        self._clock = clock
        named = [pattern.strip() for pattern in patterns if pattern.strip().startswith("#")]
        self._exact = [alias for alias in named if "*" not in alias and "?" not in alias]
        self._named = bool(named)
        self._looked: dict[RoomId, int] = {}
        self._log = logger("matrix.rooms")

    async def look(
        self, room_ids: Iterable[RoomId], claims: Mapping[RoomId, str] | None = None
    ) -> None:
        """Looks up the rooms that would be refused without an alias; waits out a homeserver that
        is away, since what is decided without it can't be decided again. `claims`: what rooms call
        themselves, where that is newer than the journal."""
        if not self._named:
            return
        now = self._clock.now_ms()
        for room_id in room_ids:
            if self._policy.access.may_enter(room_id):
                continue
            last = self._looked.get(room_id)
            if last is None or abs(now - last) >= LOOK_AGAIN_S * 1000:
                await self._look_up(room_id, (claims or {}).get(room_id))
                self._looked[room_id] = now

    async def _look_up(self, room_id: RoomId, claim: str | None) -> None:
        claimed = claim or await self._journal.read(lambda c: rooms.alias(c, room_id))
        aliases = dict.fromkeys([*self._exact, *([claimed] if claimed else [])])
        proven = [alias for alias in aliases if await self._resolve(alias) == room_id]
        self._policy.aliases[room_id] = tuple(proven)

    async def _resolve(self, alias: str) -> str | None:
        pause = 0.5
        while True:
            try:
                return await self._client.resolve_alias(alias)
            except RateLimitedError as error:
                await self._clock.sleep(error.retry_after_ms / 1000)
            except HomeserverUnreachableError as error:
                self._log.warning("alias_not_resolved", alias=alias, error=error.message)
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
            except MatrixApiError:
                return None
