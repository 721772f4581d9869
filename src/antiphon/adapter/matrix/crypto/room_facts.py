"""Who reads along in an encrypted room, and how it is encrypted: asked of the homeserver once, and
again when /sync says that something of it has changed.

Nothing here is durable: a new life asks anew, so that it never works with members of long ago.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.crypto.values import RoomSettings
from antiphon.adapter.matrix.transport.sync_response import SyncResponse

_FACTS = frozenset({"m.room.member", "m.room.encryption", "m.room.history_visibility"})
SHORTEST_MS, LONGEST_MS = 60_000, 30 * 24 * 3_600_000
MOST_MESSAGES = 10_000


class RoomApi(Protocol):
    """What is asked of the homeserver; `MatrixClient` does it."""

    async def members(self, room_id: str, membership: str) -> tuple[str, ...]:
        """The users with this membership."""
        ...

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        """A piece of the room's state."""
        ...


class Facts(msgspec.Struct, frozen=True):
    """`readers`: users whose devices get the room's keys, ourselves among them."""

    readers: frozenset[str]
    settings: RoomSettings


class RoomFacts:
    """The facts of all rooms, each asked for when it is first needed."""

    def __init__(self, api: RoomApi, *, only_cross_signed: bool):
        self._api = api
        self._only_cross_signed = only_cross_signed
        self._known: dict[str, Facts] = {}
        self._versions: dict[str, int] = defaultdict(int)
        self._asking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def note(self, response: SyncResponse) -> None:
        """What /sync says has changed is asked for again."""
        for room_id, room in response.joined.items():
            events = (*room.state, *room.timeline)
            if room.limited or any(e.type in _FACTS and e.state_key is not None for e in events):
                self._forget(room_id)
        for room_id in (*response.left, *response.invited):
            self._forget(room_id)

    async def of(self, room_id: str) -> Facts:
        """The room's facts as of now. Raises what the homeserver's answers raise."""
        async with self._asking[room_id]:
            while True:
                known = self._known.get(room_id)
                if known is not None:
                    return known
                version = self._versions[room_id]
                facts = await self._asked(room_id)
                if version == self._versions[room_id]:  # else something changed meanwhile
                    self._known[room_id] = facts

    def known(self, room_id: str) -> Facts | None:
        """The room's facts where they were asked for and nothing has changed since."""
        return self._known.get(room_id)

    def _forget(self, room_id: str) -> None:
        self._versions[room_id] += 1
        self._known.pop(room_id, None)

    async def _asked(self, room_id: str) -> Facts:
        readers = set(await self._api.members(room_id, "join"))
        visibility = await self._api.state_event(room_id, "m.room.history_visibility")
        if visibility is None or visibility.get("history_visibility") != "joined":
            # They may read from their invite on (client-server API, "Room history visibility").
            readers |= set(await self._api.members(room_id, "invite"))
        encryption = await self._api.state_event(room_id, "m.room.encryption") or {}
        return Facts(frozenset(readers), self._settings(encryption))

    def _settings(self, content: dict[str, Any]) -> RoomSettings:
        """Values that nobody could mean are drawn to what can be done."""
        default = RoomSettings()
        return RoomSettings(
            rotation_period_ms=_within(
                content.get("rotation_period_ms"),
                SHORTEST_MS,
                LONGEST_MS,
                default.rotation_period_ms,
            ),
            rotation_period_msgs=_within(
                content.get("rotation_period_msgs"),
                1,
                MOST_MESSAGES,
                default.rotation_period_msgs,
            ),
            only_cross_signed=self._only_cross_signed,
        )


def _within(value: object, least: int, most: int, default: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return default
    return min(most, max(least, value))
