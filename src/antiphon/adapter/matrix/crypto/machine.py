"""The machine of encryption: each method is one transaction of the key store, committed when it
returns, so that no ratchet ever goes back. It asks nobody anything: what is to be sent comes out,
what was answered goes in (`service` joins the two). Text and files are not its business."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import (
    device_lists,
    group_in,
    group_out,
    own_keys,
    pickles,
    sharing,
    to_device,
)
from antiphon.adapter.matrix.crypto.keystore import KeyStore
from antiphon.adapter.matrix.crypto.machine_devices import DeviceMessages
from antiphon.adapter.matrix.crypto.store import (
    account,
    inbox,
    key_requests,
    outbound_groups,
    users,
)
from antiphon.adapter.matrix.crypto.values import (
    MEGOLM,
    Batch,
    Decrypted,
    Encrypted,
    GroupPlan,
    Me,
    Queried,
    Received,
    RoomSettings,
    ToDevice,
    Unreadable,
)
from antiphon.clock import Clock

BATCH = 250
"""How many devices one to-device request serves: about half a megabyte."""


class CryptoMachine(DeviceMessages):
    """This device's side of encryption; made by `open`. Any method raises what `KeyStore.write` and
    `read` raise, DatabaseError where a ratchet in the store is damaged, and nothing else because of
    what others sent."""

    def __init__(self, store: KeyStore, me: Me, clock: Clock):
        super().__init__(store, me, clock)

    @classmethod
    async def open(cls, store: KeyStore, clock: Clock) -> CryptoMachine:
        """The machine over an open key store; the store stays the caller's to close."""

        def look(connection: Connection) -> Me:
            opened = pickles.open_account(connection, store.vault)
            return own_keys.me_of(store.user_id, store.device_id, opened)

        return cls(store, await store.read(look), clock)

    async def receive(
        self,
        to_device_events: Sequence[Any],
        changed: Collection[str] = (),
        left: Collection[str] = (),
        counts: Mapping[str, int] | None = None,
        unused_fallback: Collection[str] | None = None,
    ) -> Received:
        """Takes in what a sync response says of encryption, all of it or nothing: to be called
        before the journal commits the response, and again with the same whenever that is not sure.

        `messages` of the result wait (`waiting`) until `done` names them."""

        lacking = own_keys.lacking(counts or {}, unused_fallback)
        if not (to_device_events or changed or left or lacking):
            return Received()

        def take(connection: Connection) -> Received:
            now_ms = self._clock.now_ms()
            device_lists.changed(connection, changed, left)
            if lacking:
                own_keys.stock_up(connection, self._vault, counts or {}, unused_fallback)
            return to_device.receive(connection, self._vault, self.me, to_device_events, now_ms)

        renewed: tuple[str, ...] = ()
        try:
            received = await self._store.write(take)
            renewed = received.renewed
            return received
        finally:
            self.settled.changed({*changed, *left, *renewed})
            self.settled.heard(to_device.senders(to_device_events))

    async def waiting(self) -> list[ToDevice]:
        """The messages for others that nobody is done with, in the order in which they came."""
        return await self._store.read(lambda c: to_device.waiting(c, self._vault))

    async def done(self, message_ids: Collection[str]) -> None:
        """Somebody has dealt with these for good."""
        await self._store.write(lambda c: inbox.done(c, message_ids))

    async def upload(self) -> dict[str, Any] | None:
        """The body of the `/keys/upload` that is owed; None where none is. The same until
        `uploaded` says that it was taken."""
        if not await self._store.read(lambda c: own_keys.is_owed(c, self._vault)):
            return None
        return await self._store.write(lambda c: own_keys.upload(c, self._vault, self.me))

    async def uploaded(self, body: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
        """The homeserver took `body` and has `counts` of our one-time keys. True: more is owed."""
        return await self._store.write(lambda c: own_keys.uploaded(c, self._vault, body, counts))

    async def upload_refused(self) -> None:
        """The homeserver has other keys under our ids: makes new ones in their place."""
        await self._store.write(lambda c: own_keys.give_up(c, self._vault))

    async def device_keys_lost(self) -> None:
        """The homeserver does not know our device keys (any more): they are owed again."""
        await self._store.write(lambda c: account.set_device_uploaded(c, False))

    async def track(self, members: Collection[str]) -> None:
        """These are in an encrypted room with us: their devices must be known."""
        if await self._store.read(lambda c: device_lists.untracked(c, members)):
            await self._store.write(lambda c: users.track(c, device_lists.untracked(c, members)))

    async def all_outdated(self) -> None:
        """What changed while we were away can't be told any more (a lost cursor)."""
        try:
            await self._store.write(lambda c: users.stale(c, None))
        finally:
            self.settled.changed(None)

    async def outdated(self, among: Collection[str] | None = None) -> dict[str, int]:
        """Whom to ask for now, and the mark to give to `queried` with the answer."""
        now_ms = self._clock.now_ms()
        return await self._store.read(lambda c: device_lists.outdated(c, now_ms, among))

    async def queried(self, asked: Mapping[str, int], answer: Mapping[str, Any]) -> Queried:
        """Takes in the answer of `/keys/query` about `asked`."""
        now_ms = self._clock.now_ms()
        try:
            return await self._store.write(
                lambda c: device_lists.queried(c, self.me, asked, answer, now_ms)
            )
        finally:
            self.settled.changed(asked)

    async def next_query_ms(self, among: Collection[str]) -> int | None:
        """When somebody of `among` is to be asked for again, at the earliest, now or before for at
        once; None: all lists are fresh."""
        now_ms = self._clock.now_ms()
        return await self._store.read(lambda c: device_lists.next_query_ms(c, now_ms, among))

    async def plan(self, room_id: str, members: Sequence[str], settings: RoomSettings) -> GroupPlan:
        """Where the sharing of the room's session stands; changes nothing but that it replaces the
        session where that is due. `members`: all who may read what is written next."""
        now_ms = self._clock.now_ms()
        found = await self._store.read(
            lambda c: sharing.look(c, self.me, room_id, members, settings, now_ms)
        )
        if not found.rotate and found.row is not None:
            return sharing.plan_of(found, settings, "")

        def renew(connection: Connection) -> GroupPlan:
            why = sharing.look(connection, self.me, room_id, members, settings, now_ms).rotate
            if why:
                group_out.rotate(connection, self._vault, self.me, room_id, now_ms)
            now = sharing.look(connection, self.me, room_id, members, settings, now_ms)
            return sharing.plan_of(now, settings, why)

        return await self._store.write(renew)

    async def share(
        self, room_id: str, members: Sequence[str], settings: RoomSettings, limit: int = BATCH
    ) -> Batch | None:
        """The next to-device messages of the room's session; None where all that can be done is
        done. To be sent as they are, and then given to `shared`."""
        now_ms = self._clock.now_ms()

        def next_batch(connection: Connection) -> Batch | None:
            found = sharing.look(connection, self.me, room_id, members, settings, now_ms)
            if found.rotate or found.row is None:
                return None
            return sharing.batch(connection, self._vault, self.me, found, limit, now_ms)

        return await self._store.write(next_batch)

    async def shared(self, batch: Batch) -> None:
        """The homeserver took the batch."""
        now_ms = self._clock.now_ms()
        await self._store.write(lambda c: sharing.mark(c, batch, now_ms))

    async def ready(self, room_id: str, session_id: str) -> None:
        """The session was shared with everybody who can have it: messages may be encrypted."""
        await self._store.write(lambda c: outbound_groups.set_ready(c, room_id, session_id))

    async def encrypt(
        self,
        room_id: str,
        kind: str,
        content: Mapping[str, Any],
        session_id: str,
        settings: RoomSettings,
    ) -> Encrypted | None:
        """An `m.room.encrypted` event; each call moves the ratchet. None where the room has another
        session than this, or one that was not shared yet or is to be replaced."""
        now_ms = self._clock.now_ms()

        def encrypt(connection: Connection) -> Encrypted | None:
            row = outbound_groups.of(connection, room_id)
            if row is None or row.session_id != session_id or not row.ready:
                return None
            if group_out.why_rotate(row, (), {}, settings, now_ms):
                return None
            sealed, row = group_out.encrypt(connection, self._vault, self.me, row, kind, content)
            return Encrypted(sealed, bool(group_out.why_rotate(row, (), {}, settings, now_ms)))

        return await self._store.write(encrypt)

    async def decrypt(
        self, room_id: str, events: Sequence[Mapping[str, Any]]
    ) -> list[Decrypted | Unreadable]:
        """Reads `m.room.encrypted` events of a room, as they came by /sync; one result each."""

        now_ms = self._clock.now_ms()

        def read(connection: Connection) -> list[Decrypted | Unreadable]:
            return [
                group_in.decrypt(connection, self._vault, self.me, room_id, event, now_ms)
                for event in events
            ]

        return await self._store.write(read) if events else []

    async def ask_for(self, room_id: str, session_id: str) -> dict[str, Any]:
        """The content of an `m.room_key_request` to our own other devices (`*`), the same until the
        key came. Only what was asked for so is taken when it is forwarded."""

        def ask(connection: Connection) -> str:
            asked = key_requests.asked(connection, room_id, session_id)
            if asked is None:
                asked = secrets.token_hex(16)
                now_ms = self._clock.now_ms()
                key_requests.add(connection, room_id, session_id, asked, now_ms)
            return asked

        return {
            "action": "request",
            "body": {"algorithm": MEGOLM, "room_id": room_id, "session_id": session_id},
            "request_id": await self._store.write(ask),
            "requesting_device_id": self.me.device_id,
        }
