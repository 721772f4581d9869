"""Who talks with the bots of a campaign: in plain rooms over our own transport, in encrypted ones
by the independent client, which decrypts what is judged there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.demo.synapse import Synapse
from antiphon.testing.js_client import JsClient, another_device, js_client
from antiphon.testing.live import LiveUser, log_in

ENCRYPTED = "m.room.encrypted"


class Person(Protocol):
    """Somebody in a trial's rooms; `LiveUser` is one. `client` asks the homeserver in their name,
    and encrypts nothing."""

    user_id: str
    client: MatrixClient

    async def room(self, *invite: str, name: str = "Room", **more: Any) -> str:
        """Makes a room and gives its id."""
        ...

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        """Says something and gives the event's id."""
        ...

    async def edit(self, room_id: str, event_id: str, text: str) -> str:
        """Edits an own message and gives the edit's id."""
        ...

    async def redact(self, room_id: str, event_id: str) -> str:
        """Redacts a message."""
        ...

    async def history(self, room_id: str) -> tuple[Event, ...]:
        """The room's whole history, oldest first, as it can be read."""
        ...


class SealedPerson:
    """A `Person` in encrypted rooms: speaks and reads by one device of matrix-js-sdk, and asks the
    homeserver for the history as it lies there (`wire`), since who decrypts may leave out what it
    can't place."""

    def __init__(self, js: JsClient, witness: LiveUser, recovery_key: str):
        self.js = js
        self.recovery_key = recovery_key
        self.client = witness.client
        self.user_id = js.user_id
        self.witness = witness
        self._opened: dict[str, dict[str, Event]] = {}

    async def room(self, *invite: str, name: str = "Room", **more: Any) -> str:
        room_id = await self.js.room(*invite, name=name, **more)
        for user_id in invite:
            await self._knows(room_id, user_id)
        return room_id

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        return await self.js.say(room_id, text, **more)

    async def edit(self, room_id: str, event_id: str, text: str) -> str:
        return await self.js.edit(room_id, event_id, text)

    async def redact(self, room_id: str, event_id: str) -> str:
        return await self.js.redact(room_id, event_id)

    async def wire(self, room_id: str) -> tuple[Event, ...]:
        """The history as the homeserver has it, oldest first."""
        return await self.witness.history(room_id)

    async def history(self, room_id: str) -> tuple[Event, ...]:
        return await self.opened(room_id, await self.wire(room_id))

    async def opened(self, room_id: str, wire: Sequence[Event]) -> tuple[Event, ...]:
        """The same events, those of them decrypted that the independent client can read."""
        known = self._opened.setdefault(room_id, {})
        sealed = [
            event
            for event in wire
            if event.type == ENCRYPTED and not event.redacted and event.event_id not in known
        ]
        if sealed:
            found = await self.js.decrypt(room_id, [_given(room_id, event) for event in sealed])
            for event, read in zip(sealed, found, strict=True):
                if read is not None:
                    known[event.event_id] = msgspec.structs.replace(
                        event, type=read.type, content=read.content
                    )
        return tuple(
            event if event.redacted else known.get(event.event_id, event) for event in wire
        )

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites somebody."""
        await self.js.invite(room_id, user_id)
        await self._knows(room_id, user_id)

    async def _knows(self, room_id: str, user_id: str) -> None:
        """Waits until the device that speaks knows of a member: it encrypts for no other (measured:
        a room may come by /sync while it is being made, without those who are invited)."""
        await self.js.until_event(
            room_id, lambda event: event.type == "m.room.member" and event.state_key == user_id
        )

    async def trusts(self, user_id: str) -> None:
        """Waits until the devices of this user are published, and signed by their owner."""
        while True:
            answer = await self.client.keys.query_keys([user_id], 10_000)
            devices = answer["device_keys"].get(user_id, {})
            if devices and all(_signed(user_id, name, one) for name, one in devices.items()):
                return
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def another_device(self) -> AsyncIterator[SealedPerson]:
        """The same person on a new device, signed, with the old keys."""
        async with another_device(self.js) as js:
            await js.devices(self.user_id)  # its own identity must have come before its keys do
            await js.recover(self.recovery_key)
            yield SealedPerson(js, self.witness, self.recovery_key)

    async def part(self, room_id: str) -> None:
        """Leaves and forgets a room that is judged: the next new device need not read it."""
        self._opened.pop(room_id, None)
        await self.client.leave(room_id)


def _given(room_id: str, event: Event) -> dict[str, Any]:
    """An event of a room as /sync gives it."""
    return {
        "event_id": event.event_id,
        "type": event.type,
        "sender": event.sender,
        "room_id": room_id,
        "origin_server_ts": event.origin_server_ts,
        "content": event.content,
    }


def _signed(user_id: str, device_id: str, device: Mapping[str, Any]) -> bool:
    """Whether somebody else than the device itself has signed its keys, too."""
    return bool(device["signatures"].get(user_id, {}).keys() - {f"ed25519:{device_id}"})


@asynccontextmanager
async def sealed_person(synapse: Synapse, name: str) -> AsyncIterator[SealedPerson]:
    """A new user with one device of matrix-js-sdk, signed by its owner, a recovery key, and no rate
    limit."""
    async with AsyncExitStack() as stack:
        js = await stack.enter_async_context(js_client(synapse, name, cross_signed=False))
        recovery_key = await js.set_up_recovery()
        await synapse.lift_rate_limit(js.user_id)
        witness = await stack.enter_async_context(log_in(synapse.url, js.user_id, js.password))
        yield SealedPerson(js, witness, recovery_key)
