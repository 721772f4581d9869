"""The seam between the adapter and encryption: what comes in is made readable, what goes out is
sealed. `crypto` implements it; without its extra there is `NoCipher`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.core.ids import RoomId

ENCRYPTED = "m.room.encrypted"


class Sealed(msgspec.Struct, frozen=True):
    """An event as it is sent: its type, and its content."""

    type: str
    content: Mapping[str, Any]


class Cipher(Protocol):
    """Encryption as the adapter uses it. `enabled`: whether encrypted rooms can be read and
    written in at all."""

    enabled: bool

    def on_keys(self, wake: Callable[[], None]) -> None:
        """`wake` is called whenever messages that could not be read may be readable now."""
        ...

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        """`tell` is given how our own account stands, 1 or 0, by name: `identity` (this device is
        signed by it), `identity_replaced` (by somebody else), `backup` (it is ours and kept)."""
        ...

    async def run(self) -> None:
        """Does what is owed to the homeserver and to other devices, until cancelled."""
        ...

    async def received(self, response: SyncResponse) -> None:
        """Takes what is for the device: durable when this returns, so that the cursor may move.

        Raises what the key store raises; nothing that anybody sent us."""
        ...

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        """The events, those of them decrypted (`sealed`) that can be. Never raises for what
        anybody sent."""
        ...

    async def seal(self, room_id: RoomId, event_type: str, content: Mapping[str, Any]) -> Sealed:
        """The event for an encrypted room, once everybody in it who may read it can. Each attempt
        of a send is sealed anew. Raises HomeserverUnreachableError, RateLimitedError,
        MatrixApiError, and what the key store raises."""
        ...


class NoCipher:
    """Nothing is decrypted and nothing sealed: encrypted rooms get one note."""

    enabled = False

    def on_keys(self, wake: Callable[[], None]) -> None:
        """No keys come."""

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        """There is nothing to tell."""

    async def run(self) -> None:
        """Nothing is owed."""

    async def received(self, response: SyncResponse) -> None:
        """Nothing here is for us."""

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(events)

    async def seal(self, room_id: RoomId, event_type: str, content: Mapping[str, Any]) -> Sealed:
        return Sealed(event_type, content)
