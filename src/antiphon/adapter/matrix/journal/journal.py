"""The journal opened: one database, one account, one lease.

Every write is fenced by the lease's epoch, so that a process that was stopped for a while and
wakes up (a zombie) cannot change what another process has taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.journal.schema import account
from antiphon.core.ids import UserId
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import LeaseLostError, StateError

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"


class Account(msgspec.Struct, frozen=True):
    """Whose journal it is, and how far it has come. `next_batch` is None before the first sync,
    and where it was lost."""

    user_id: UserId
    device_id: str
    next_batch: str | None
    batches: int

    @property
    def cursor_lost(self) -> bool:
        """Whether there were syncs, and it is not known where they stood."""
        return self.next_batch is None and self.batches > 0


def account_of(connection: Connection) -> Account | None:
    """The journal's account; None before its first start. Reads what every schema has."""
    columns = (account.c.user_id, account.c.device_id, account.c.next_batch, account.c.batch)
    row = connection.execute(select(*columns).where(account.c.id == 1)).first()
    return None if row is None else Account(UserId(row[0]), *row[1:])


def foreign_account(found: str, wanted: str) -> StateError:
    """The error for another account's journal."""
    return StateError(
        f"This state folder belongs to {found}, the settings name {wanted}. "
        "Use another ANTIPHON_STATE_DIR for another account."
    )


class Journal:
    """The adapter's durable memory; made by `open`. Store functions get a Connection through
    `write` (one fenced transaction, durable when it returns) and `read`."""

    def __init__(self, database: Database, epoch: int, device_id: str, *, device_changed: bool):
        self._database = database
        self.epoch = epoch
        self.device_id = device_id
        self.device_changed = device_changed
        """Whether an earlier life was another device: the homeserver knows none of its
        transaction ids, so only what /sync shows tells what was sent."""

    @classmethod
    async def open(cls, url: str, user_id: UserId, device_id: str) -> Journal:
        """Opens (making it where it is new) the journal of `user_id` and takes the lease.

        Raises StateError when it belongs to another account, and what `Database.open` raises."""
        database = await Database.open(url, MIGRATIONS)
        try:
            epoch, changed = await database.write(lambda c: _take_lease(c, user_id, device_id))
        except BaseException:
            await database.close()
            raise
        return cls(database, epoch, device_id, device_changed=changed)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """As `Database.write`; raises LeaseLostError, changing nothing, when another process has
        taken the lease."""

        def fenced(connection: Connection) -> T:
            held = connection.execute(
                select(account.c.epoch).where(account.c.id == 1).with_for_update()
            ).scalar_one()
            if held != self.epoch:
                raise LeaseLostError(
                    f"Another process has taken over this bot (lease {held}, ours {self.epoch}). "
                    "This one stops; nothing is lost."
                )
            done = function(connection)
            crash_point("journal.before_commit")
            return done

        done = await self._database.write(fenced)
        crash_point("journal.committed")
        return done

    async def read(self, function: Callable[[Connection], T]) -> T:
        """As `Database.read`."""
        return await self._database.read(function)

    async def close(self) -> None:
        """Waits for running transactions and closes."""
        await self._database.close()


def _take_lease(connection: Connection, user_id: UserId, device_id: str) -> tuple[int, bool]:
    row = connection.execute(select(account).where(account.c.id == 1).with_for_update()).first()
    if row is None:
        connection.execute(
            insert(account).values(
                id=1, user_id=user_id, device_id=device_id, next_batch=None, batch=0, epoch=1
            )
        )
        return 1, False
    if row.user_id != user_id:
        raise foreign_account(row.user_id, user_id)
    epoch = int(row.epoch) + 1
    connection.execute(
        update(account).where(account.c.id == 1).values(epoch=epoch, device_id=device_id)
    )
    return epoch, row.device_id != device_id
