"""One bot account on the fake homeserver with its identity, backup and recovery, and lives of its
devices that end anywhere: for tests of `own_identity`, `backup_keeping` and `recovering`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import vodozemac

from antiphon.adapter.matrix.crypto.backup_keeping import BackupKeeper
from antiphon.adapter.matrix.crypto.keystore import KeyStore
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.own_identity import OwnIdentity
from antiphon.adapter.matrix.crypto.recovering import Recovering
from antiphon.adapter.matrix.crypto.room_key import RoomKey, room_key_of
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.settings import Secret
from antiphon.testing.clock import FakeClock
from antiphon.testing.crypto_world import KEY
from antiphon.testing.homeserver import FakeHomeserver

PASSWORD = "password"  # noqa: S105 - of the fake


class Life:
    """A device of the bot, running."""

    def __init__(self, machine: CryptoMachine, client: MatrixClient, password: str):
        self.machine = machine
        self.client = client
        self.crypto = Crypto(machine, client.keys)
        self.own = OwnIdentity(machine, client.keys, Secret(password))
        self.backup = BackupKeeper(machine, client.key_backup, self.own)
        self.recovering = Recovering(machine, client, self.own, self.backup, self.crypto.settle)

    async def start(self) -> None:
        """What the adapter does first."""
        await self.crypto.settle()
        await self.own.settle()
        await self.backup.look()


class Account:
    """The account; `life` opens one of its devices on a store in `folder`."""

    def __init__(self, server: FakeHomeserver, folder: Path):
        self.server = server
        self.folder = folder
        self.user_id = server.account("bot", PASSWORD)
        self.clock = FakeClock()

    @asynccontextmanager
    async def life(self, device: str = "D", password: str = PASSWORD) -> AsyncIterator[Life]:
        store = await KeyStore.open(
            f"sqlite:///{self.folder / device}.db", self.user_id, device, KEY
        )
        token = self.server.token(self.user_id, device)
        try:
            machine = await CryptoMachine.open(store, self.clock)
            async with MatrixClient(self.server.url, access_token=token) as client:
                yield Life(machine, client, password)
        finally:
            await store.close()

    @property
    def published(self) -> dict[str, Any]:
        """The public identity keys at the homeserver, by usage."""
        return self.server.keys.signing.keys.get(self.user_id, {})


def session(room_id: str) -> RoomKey:
    """A session of somebody's, as a backup or a file has it."""
    made = vodozemac.GroupSession()
    inbound = vodozemac.InboundGroupSession(made.session_key)
    sender = vodozemac.Account().curve25519_key.to_base64()
    return room_key_of(inbound, room_id, sender, {})
