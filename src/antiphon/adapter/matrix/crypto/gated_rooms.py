"""Sends in rooms beside the outbox, of verifications and notices, through the adapter's budget of
sends, so that they take their turn where the homeserver gives little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from antiphon.adapter.matrix.gate import SendGate
from antiphon.core.pacing import SendClass
from antiphon.errors import RateLimitedError


class RoomsApi(Protocol):
    """What is asked of the homeserver; `MatrixClient` does it."""

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """Sends an event, once for a `txn_id`; its id."""
        ...

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        """A piece of the room's state."""
        ...


class GatedRooms:
    """The same, through the gate once there is one. People wait for what goes here, and it is
    little: it goes with the finals."""

    def __init__(self, rooms: RoomsApi):
        self._rooms = rooms
        self._gate: SendGate | None = None

    def go_through(self, gate: SendGate) -> None:
        """From now on sends take places of this gate."""
        self._gate = gate

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """As `RoomsApi.send`, when its turn comes."""
        if self._gate is None:
            return await self._rooms.send(room_id, event_type, txn_id, content)
        async with self._gate.slot(SendClass.FINAL) as slot:
            try:
                event_id = await self._rooms.send(room_id, event_type, txn_id, content)
            except RateLimitedError as error:
                slot.limited(error.retry_after_ms)
                raise
            slot.succeeded()
            return event_id

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        """As `RoomsApi.state_event`."""
        return await self._rooms.state_event(room_id, event_type, state_key)
