"""The key store opened: one database, one device, one key, one lease.

Every write is fenced by the lease's epoch, as in the journal: a process that was stopped and wakes
up can't move a ratchet that another has taken over. No backup holds this database.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto.store import account
from antiphon.adapter.matrix.crypto.store.account import AccountRow
from antiphon.adapter.matrix.crypto.store_key import StoreKey
from antiphon.adapter.matrix.crypto.vault import Vault
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.db.peek import peek
from antiphon.errors import LeaseLostError, StateError

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "store" / "migrations"
FILE = "matrix-keys.db"


async def look(url: str) -> AccountRow | None:
    """Whose the key store is and where its key came from, without changing it; None where there is
    no store. Raises what `Database.open` raises."""
    return await peek(url, MIGRATIONS, account.load)


class KeyStore:
    """The device's keys; made by `open`. Store functions get a Connection through `write` (one
    fenced transaction, durable when it returns) and `read`."""

    def __init__(self, database: Database, epoch: int, user_id: str, device_id: str, vault: Vault):
        self._database = database
        self.epoch = epoch
        self.user_id = user_id
        self.device_id = device_id
        self.vault = vault

    @classmethod
    async def open(cls, url: str, user_id: str, device_id: str, key: StoreKey) -> KeyStore:
        """Opens (making it where it is new, with a new Olm account) the store of this device and
        takes the lease.

        Raises StateError: another account's; with code `keys_of_another_device`, another device's
        of this account (the caller decides to make a new store); with code `wrong_store_key`, made
        with another key. And what `Database.open` raises. Nothing is changed in any of these."""
        vault = Vault(key.reveal())
        database = await Database.open(url, MIGRATIONS)
        try:
            epoch = await database.write(lambda c: _taken(c, user_id, device_id, key.source, vault))
        except BaseException:
            await database.close()
            raise
        crash_point("keys.opened")
        return cls(database, epoch, user_id, device_id, vault)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """As `Database.write`; raises LeaseLostError, changing nothing, when another process has
        taken the lease."""

        def fenced(connection: Connection) -> T:
            held = account.held(connection)
            if held != self.epoch:
                raise LeaseLostError(
                    f"Another process has taken over this bot's keys (lease {held}, ours "
                    f"{self.epoch}). This one stops; nothing is lost."
                )
            done = function(connection)
            crash_point("keys.before_commit")
            return done

        done = await self._database.write(fenced)
        crash_point("keys.committed")
        return done

    async def read(self, function: Callable[[Connection], T]) -> T:
        """As `Database.read`."""
        return await self._database.read(function)

    async def scrub(self) -> None:
        """As `Database.scrub`: leaves no copy of keys that were deleted."""
        await self._database.scrub()

    async def close(self) -> None:
        """Waits for running transactions and closes."""
        await self._database.close()


def _taken(connection: Connection, user_id: str, device_id: str, source: str, vault: Vault) -> int:
    row = account.load(connection)
    if row is None:
        pickle = vodozemac.Account().pickle(vault.pickle_key)
        row = AccountRow(
            user_id=user_id,
            device_id=device_id,
            epoch=0,
            key_check=vault.check,
            key_source=source,
            pickle=pickle,
            device_uploaded=False,
        )
        account.make(connection, row)
    if row.user_id != user_id:
        raise StateError(
            f"This key store belongs to {row.user_id}, the settings name {user_id}. "
            "Use another ANTIPHON_STATE_DIR for another account."
        )
    if row.device_id != device_id:
        raise StateError(
            f"This key store belongs to the device {row.device_id}, and the bot is logged in as "
            f"{device_id}. Keys can't move between devices: move the key store away, or log in as "
            "the device that it belongs to.",
            code="keys_of_another_device",
        )
    if not vault.fits(row.key_check):
        raise StateError(
            f"This is not the key that the key store was made with (that one came from "
            f"{_SOURCES.get(row.key_source, row.key_source)}): give the old one again. Without it, "
            "move the key store away: the bot then becomes a new device.",
            code="wrong_store_key",
        )
    return account.take_lease(connection)


_SOURCES = {
    "setting": "the settings",
    "keyring": "the system's keyring",
    "file": "a file in the state folder",
}
