"""Opening encryption for one life of the adapter: the key of the store, the store, the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from antiphon.adapter.matrix.crypto import keystore
from antiphon.adapter.matrix.crypto.backup_keeping import BackupKeeper
from antiphon.adapter.matrix.crypto.gated_rooms import GatedRooms
from antiphon.adapter.matrix.crypto.identity_notices import IdentityNotices
from antiphon.adapter.matrix.crypto.keystore import KeyStore
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.own_identity import OwnIdentity
from antiphon.adapter.matrix.crypto.room_cipher import RoomCipher
from antiphon.adapter.matrix.crypto.room_facts import RoomFacts
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.crypto.store_key import SystemKeyring, store_key
from antiphon.adapter.matrix.crypto.upkeep import Upkeep
from antiphon.adapter.matrix.crypto.verifier import Verifier
from antiphon.adapter.matrix.crypto.verifier_mail import Mail
from antiphon.adapter.matrix.crypto.verifier_notices import EncryptedNotices
from antiphon.adapter.matrix.crypto.verify_desk import open_desk
from antiphon.adapter.matrix.crypto.vouching import Vouching
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.db import database_url
from antiphon.errors import StateError
from antiphon.settings import MatrixSettings
from antiphon.telemetry import logger


class Opened(msgspec.Struct, frozen=True):
    """Encryption of one device."""

    crypto: Crypto
    own: OwnIdentity
    backup: BackupKeeper


@asynccontextmanager
async def open_crypto(
    matrix: MatrixSettings,
    state: Path,
    client: MatrixClient,
    user_id: str,
    device_id: str,
    clock: Clock,
) -> AsyncIterator[Opened]:
    """Encryption of this device, closed when the block ends. Raises StateError and
    what the database raises."""
    url = database_url(matrix.keys_database, state, keystore.FILE)
    there = await keystore.look(url)
    if there is not None and there.device_id != device_id and there.user_id == user_id:
        if matrix.keys_database:
            raise StateError(
                f"The keys in [matrix] keys_database are those of the device {there.device_id}, "
                f"and this is {device_id}. Give this device a database of its own."
            )
        _set_aside(state, there.device_id)
        there = None
    key = await store_key(
        state,
        user_id,
        matrix.keys_secret,
        made_with=there.key_source if there is not None else None,
        keyring=SystemKeyring(),
    )
    store = await KeyStore.open(url, user_id, device_id, key)
    try:
        machine = await CryptoMachine.open(store, clock)
        own = OwnIdentity(machine, client.keys, matrix.password)
        backup = BackupKeeper(machine, client.key_backup, own)
        yield Opened(Crypto(machine, client.keys), own, backup)
    finally:
        await store.close()


@asynccontextmanager
async def open_cipher(
    matrix: MatrixSettings,
    state: Path,
    client: MatrixClient,
    user_id: str,
    device_id: str,
    clock: Clock,
) -> AsyncIterator[RoomCipher]:
    """As `open_crypto`, as the adapter uses it."""
    async with open_crypto(matrix, state, client, user_id, device_id, clock) as opened:
        machine = opened.crypto.machine
        vouching = Vouching(machine, opened.own, client.keys)

        async def close_replays() -> None:
            while await machine.close_replays():
                pass

        cipher = RoomCipher(
            opened.crypto,
            RoomFacts(client, only_cross_signed=matrix.only_cross_signed),
            Upkeep(
                opened.own,
                opened.backup,
                opened.crypto.ask_for_key,
                clock,
                also=(vouching.settle, close_replays),
            ),
            user_id,
            clock,
            only_cross_signed=matrix.only_cross_signed,
        )
        rooms = GatedRooms(client)
        notices = EncryptedNotices(rooms, cipher)
        verifier = Verifier(
            opened.crypto, Mail(client.keys, rooms, clock), notices, vouching, cipher.allows, clock
        )

        async def verify() -> None:
            async with open_desk(state, verifier):
                await verifier.run()

        cipher.verify_with(verifier, verify)
        cipher.tell_with(
            IdentityNotices(
                machine, notices.say, cipher.allows, only_cross_signed=matrix.only_cross_signed
            ),
            rooms,
        )
        yield cipher


def _set_aside(state: Path, device_id: str) -> None:
    """The keys of a device that is no more are kept: they can still read what was said to it."""
    for suffix in ("", "-wal", "-shm"):
        old = state / f"{keystore.FILE}{suffix}"
        if old.exists():
            old.rename(state / f"matrix-keys-{device_id}.db{suffix}")
    logger("matrix.crypto").warning(
        "keys_set_aside", device=device_id, hint="this login is another device: it has keys anew"
    )
