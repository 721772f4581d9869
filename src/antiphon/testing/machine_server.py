"""What the fake homeserver needs to live in virtual time: events stamped by its own clock, state
events that say what was before them, and transaction ids that are forgotten after a day."""

from __future__ import annotations

import asyncio
from typing import Any

from antiphon.clock import Clock
from antiphon.testing.homeserver_rooms import Rooms

KEPT_S = 24 * 3600


class MachineRooms(Rooms):
    """Rooms whose events carry the time of a clock; `step` sets it off, back too."""

    def __init__(self, server_name: str, clock: Clock):
        super().__init__(server_name)
        self._clock = clock
        self._skew_ms = 0

    def step(self, milliseconds: int) -> None:
        """The server's clock is set, by so much."""
        self._skew_ms += milliseconds
        self.now_ms += milliseconds

    def add(
        self,
        room_id: str,
        kind: str,
        sender: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        device: tuple[str, str] | None = None,
    ) -> str:
        self.now_ms = max(self.now_ms, self._clock.now_ms() + self._skew_ms)
        before = None
        if state_key is not None:
            before = self.state(room_id).get((kind, state_key))
        event_id = super().add(room_id, kind, sender, content, state_key=state_key, device=device)
        if before is not None:
            self.stream[-1].raw["unsigned"] = {"prev_content": before.raw["content"]}
        return event_id


class Remembered(dict[tuple[str, str, str, str], str]):
    """Transaction ids, each known for a day."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        super().__init__()
        self._loop = loop
        self._since: dict[tuple[str, str, str, str], float] = {}

    def __contains__(self, key: object) -> bool:
        known = self._since.get(key)  # type: ignore[call-overload]
        return known is not None and self._loop.time() - known < KEPT_S

    def __setitem__(self, key: tuple[str, str, str, str], value: str) -> None:
        self._since[key] = self._loop.time()
        super().__setitem__(key, value)
