"""The part of the machine that keeps and looks up: devices, identities, secrets, sessions for the
key backup. Each method is one transaction of the key store."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import device_lists, key_export, own_keys, pickles
from antiphon.adapter.matrix.crypto.key_export import ForBackup
from antiphon.adapter.matrix.crypto.keystore import KeyStore
from antiphon.adapter.matrix.crypto.room_key import RoomKey
from antiphon.adapter.matrix.crypto.settled import SettledRooms
from antiphon.adapter.matrix.crypto.store import devices, inbound_groups, replays, users
from antiphon.adapter.matrix.crypto.store import secrets as stored_secrets
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.users import User
from antiphon.adapter.matrix.crypto.values import ChangedIdentity, Me, NewKey
from antiphon.clock import Clock

T = TypeVar("T")


class Lookups:
    """What `CryptoMachine` offers besides its protocols. `me` are our own public keys; `settled` is
    told of all that changes about others' devices."""

    def __init__(self, store: KeyStore, me: Me, clock: Clock):
        self._store = store
        self._vault = store.vault
        self._clock = clock
        self.me = me
        self.settled = SettledRooms()

    def now_ms(self) -> int:
        """The time of the machine's clock."""
        return self._clock.now_ms()

    async def sign(self, body: bytes) -> str:
        """Our device's signature of bytes, unpadded base64."""

        def signature(connection: Connection) -> str:
            return pickles.open_account(connection, self._vault).sign(body).to_base64()

        return await self._store.read(signature)

    async def signed_with(self, build: Callable[[Callable[[bytes], str]], T]) -> T:
        """What `build` makes with our device's signatures: it is given what gives them."""

        def made(connection: Connection) -> T:
            opened = pickles.open_account(connection, self._vault)
            return build(lambda body: opened.sign(body).to_base64())

        return await self._store.read(made)

    async def device_keys(self) -> dict[str, Any]:
        """Our device keys, signed by the device, as they are uploaded."""

        def look(connection: Connection) -> dict[str, Any]:
            return own_keys.device_keys(self.me, pickles.open_account(connection, self._vault))

        return await self._store.read(look)

    async def devices(self, user_ids: Collection[str]) -> list[Device]:
        """The living devices of users, as far as they are known."""
        return await self._store.read(lambda c: devices.of(c, user_ids))

    async def device(self, user_id: str, device_id: str) -> Device | None:
        """One living device."""
        found = await self._store.read(lambda c: devices.get(c, user_id, device_id))
        return None if found is None or found.deleted else found

    async def raw_device(self, user_id: str, device_id: str) -> dict[str, Any] | None:
        """The keys of a device as they were signed."""
        raw = await self._store.read(lambda c: devices.raw(c, user_id, device_id))
        return None if raw is None else json.loads(raw)

    async def user(self, user_id: str) -> User | None:
        """What is known of a user, the public identity keys with it."""
        return (await self._store.read(lambda c: users.of(c, [user_id]))).get(user_id)

    async def looked_up(self, user_ids: Collection[str]) -> set[str]:
        """Those of these users whose devices are known as of now."""

        def look(connection: Connection) -> set[str]:
            return {name for name in user_ids if users.is_fresh(connection, name)}

        return await self._store.read(look)

    async def identity_keys(self, user_id: str) -> dict[str, Any]:
        """The valid identity keys of a user as they were signed: `master`, `self_signing`,
        `user_signing`, as far as there are any."""
        found = await self.user(user_id)
        return {} if found is None else dict(json.loads(found.raw))

    async def changed_identities(self) -> list[ChangedIdentity]:
        """Identities that are not those that people know; until `accept_identity`."""
        return await self._store.read(device_lists.changed_identities)

    async def accept_identity(self, user_id: str, master: str) -> None:
        """A person here has compared: this is the user's identity now."""
        try:
            await self._store.write(lambda c: device_lists.accept(c, user_id, master))
        finally:
            self.settled.changed([user_id])

    async def verified_users(self) -> list[User]:
        """Those whose identity is the one that a person here has compared."""
        return await self._store.read(users.verified)

    async def told_of(self, user_id: str, master: str) -> None:
        """People were told, in a room, that this is the user's identity now."""
        await self._store.write(lambda c: users.set_told(c, user_id, master))

    async def close_replays(self, limit: int = 200) -> int:
        """Draws together what is kept of messages of long ago; how many sessions, 0 where nothing
        is left to do."""
        now_ms = self._clock.now_ms()
        return await self._store.write(lambda c: replays.close(c, now_ms, limit))

    async def secret(self, name: str) -> bytes | None:
        """A secret of this name."""
        sealed = await self._store.read(lambda c: stored_secrets.get(c, name))
        return None if sealed is None else self._vault.unseal(f"secret {name}", sealed)

    async def keep_secret(self, name: str, value: bytes) -> None:
        """Keeps a secret, in the place of the one before."""
        sealed = self._vault.seal(f"secret {name}", value)
        await self._store.write(lambda c: stored_secrets.save(c, name, sealed))

    async def keep_secrets(self, values: Mapping[str, bytes]) -> None:
        """Keeps all of these, in the place of those before, or none."""
        sealed = {name: self._vault.seal(f"secret {name}", value) for name, value in values.items()}

        def keep(connection: Connection) -> None:
            for name, text in sealed.items():
                stored_secrets.save(connection, name, text)

        await self._store.write(keep)

    async def keep_secrets_once(self, values: dict[str, bytes]) -> dict[str, bytes]:
        """Keeps these secrets together unless the first of them is there; those that are kept now.
        So what is made once is made once, whoever comes first."""
        first = next(iter(values))

        def keep(connection: Connection) -> dict[str, bytes]:
            if stored_secrets.get(connection, first) is None:
                for name, value in values.items():
                    sealed = self._vault.seal(f"secret {name}", value)
                    stored_secrets.save(connection, name, sealed)
            found = {name: stored_secrets.get(connection, name) for name in values}
            return {
                name: self._vault.unseal(f"secret {name}", sealed)
                for name, sealed in found.items()
                if sealed is not None
            }

        return await self._store.write(keep)

    async def forget_secret(self, name: str) -> None:
        """No copy of the secret is left in the store."""
        await self._store.write(lambda c: stored_secrets.forget(c, name))
        await self._store.scrub()

    async def to_back_up(self, limit: int = 100) -> list[ForBackup]:
        """Sessions that the key backup has not."""
        return await self._store.read(lambda c: key_export.owed(c, self._vault, limit))

    async def to_back_up_count(self) -> int:
        """How many there are of them."""
        return await self._store.read(inbound_groups.owed_count)

    async def backed_up(self, keys: Sequence[RoomKey]) -> None:
        """The backup has these now."""
        await self._store.write(lambda c: key_export.paid(c, keys))

    async def new_backup(self) -> None:
        """The backup is another one: it has nothing yet."""
        await self._store.write(inbound_groups.owe_all)

    async def restore(self, keys: Sequence[RoomKey], *, backed_up: bool) -> list[NewKey]:
        """Takes sessions from the key backup (`backed_up`: the one that is kept up) or from a file;
        which of them are new or better."""
        now_ms = self._clock.now_ms()
        return await self._store.write(
            lambda c: key_export.take(c, self._vault, keys, now_ms, backed_up=backed_up)
        )

    async def session_count(self) -> int:
        """How many sessions of rooms can be read with."""
        return await self._store.read(inbound_groups.count)
