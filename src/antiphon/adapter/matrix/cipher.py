"""The seam between the adapter and encryption: what comes in is made readable, what goes out is
sealed. `crypto` implements it; without its extra there is `NoCipher`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverUnreachableError

ENCRYPTED = "m.room.encrypted"
MOST_TRIES = 5


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
        signed by it), `identity_replaced` (by somebody else), `backup` (it is ours and kept); and
        `identities_changed`, how many people have another identity than before."""
        ...

    def ask_who_may_talk(self, may_talk: Callable[[str], bool]) -> None:
        """`may_talk` tells of a user's id whether this person is answered now. Nobody else is
        verified or told anything, and before this call nobody is."""
        ...

    def send_through(self, gate: SendGate) -> None:
        """What it says in rooms by itself takes its turn at this gate."""
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

    async def prepare(self, room_id: RoomId) -> None:
        """Sees to it that everybody who may read the next message of an encrypted room can: may
        take long the first time, nothing in a room where nothing has changed. Raises
        HomeserverUnreachableError, RateLimitedError, MatrixApiError, and what the key store
        raises."""
        ...

    async def seal(
        self, room_id: RoomId, event_type: str, content: Mapping[str, Any]
    ) -> Sealed | None:
        """The event for an encrypted room; asks nobody. Each attempt of a send is sealed anew.
        None where the room is to be prepared, again if it was: what may read has changed, or the
        session is spent. Raises what the key store raises."""
        ...


class NoCipher:
    """Nothing is decrypted and nothing sealed: encrypted rooms get one note."""

    enabled = False

    def on_keys(self, wake: Callable[[], None]) -> None:
        """No keys come."""

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        """There is nothing to tell."""

    def ask_who_may_talk(self, may_talk: Callable[[str], bool]) -> None:
        """Nobody is told anything."""

    def send_through(self, gate: SendGate) -> None:
        """Nothing is said."""

    async def run(self) -> None:
        """Nothing is owed."""

    async def received(self, response: SyncResponse) -> None:
        """Nothing here is for us."""

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(events)

    async def prepare(self, room_id: RoomId) -> None:
        """Nobody needs a key."""

    async def seal(
        self, room_id: RoomId, event_type: str, content: Mapping[str, Any]
    ) -> Sealed | None:
        return Sealed(event_type, content)


async def sealed_at_once(
    cipher: Cipher, room_id: RoomId, event_type: str, content: Mapping[str, Any]
) -> Sealed:
    """Prepares the room and seals, for whoever holds nothing meanwhile that others wait for. Raises
    as `prepare`."""
    for _ in range(MOST_TRIES):
        await cipher.prepare(room_id)
        sealed = await cipher.seal(room_id, event_type, content)
        if sealed is not None:
            return sealed
    raise HomeserverUnreachableError("The keys of the room change faster than we can write.")
