"""How far /sync has come, for those who must know what the room shows before they act."""

from __future__ import annotations

import asyncio


class SyncWatch:
    """Counts syncs as they begin and are committed."""

    def __init__(self) -> None:
        self._begun = 0
        self._committed = 0
        self._changed = asyncio.Event()

    def begin(self) -> int:
        """A sync is being asked for; its number."""
        self._begun += 1
        return self._begun

    def committed(self, number: int) -> None:
        """What that sync brought is journalled."""
        self._committed = number
        self._changed.set()
        self._changed = asyncio.Event()

    async def from_now_on(self) -> None:
        """Returns when a sync that begins after this call is committed: whatever the homeserver
        had taken of ours before is in the journal then."""
        needed = self._begun + 1
        while self._committed < needed:
            await self._changed.wait()
