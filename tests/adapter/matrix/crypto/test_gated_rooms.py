"""What is said beside the outbox takes its turn with the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from antiphon.adapter.matrix.crypto.gated_rooms import GatedRooms
from antiphon.adapter.matrix.gate import SendGate
from antiphon.core.pacing import Budget, SendClass
from antiphon.errors import RateLimitedError
from antiphon.testing.clock import FakeClock


class Rooms:
    """Takes everything, or says for how long it won't."""

    def __init__(self) -> None:
        self.limited: list[int] = []
        self.sent: list[str] = []

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        if self.limited:
            raise RateLimitedError("slow down", self.limited.pop())
        self.sent.append(txn_id)
        return f"${txn_id}"

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        return {"of": event_type}


async def test_without_a_gate_and_through_one_it_is_the_same() -> None:
    rooms = Rooms()
    gated = GatedRooms(rooms)
    assert await gated.send("!r", "m.x", "one", {}) == "$one"
    gated.go_through(SendGate(FakeClock()))
    assert await gated.send("!r", "m.x", "two", {}) == "$two"
    assert await gated.state_event("!r", "m.y") == {"of": "m.y"}
    assert rooms.sent == ["one", "two"]


async def test_a_limit_that_it_meets_is_felt_by_all() -> None:
    rooms, clock, budget = Rooms(), FakeClock(), Budget()
    rooms.limited = [4000]
    gated = GatedRooms(rooms)
    gated.go_through(SendGate(clock, budget))
    with pytest.raises(RateLimitedError):
        await gated.send("!r", "m.x", "one", {})
    assert budget.scarce
    assert budget.wait(SendClass.FINAL, clock.monotonic()) >= 4
