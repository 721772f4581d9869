"""Whose keys these are: one row with the account, the device, the lease and the Olm account."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.crypto.store.schema import account


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """`key_check` and `key_source` are of the key that seals `pickle` and all else that is sealed;
    `device_uploaded` says that the homeserver took our device keys."""

    user_id: str
    device_id: str
    epoch: int
    key_check: str
    key_source: str
    pickle: str
    device_uploaded: bool


def load(connection: Connection) -> AccountRow | None:
    """The account; None in a new store."""
    columns = [account.c[name] for name in AccountRow.__struct_fields__]
    row = connection.execute(select(*columns).where(account.c.id == 1)).first()
    return None if row is None else AccountRow(**row._mapping)


def make(connection: Connection, row: AccountRow) -> None:
    """Writes the account into a new store."""
    connection.execute(insert(account).values(id=1, rank=0, **msgspec.structs.asdict(row)))


def take_lease(connection: Connection) -> int:
    """The new epoch: whoever held an older one has lost the store."""
    epoch = held(connection) + 1
    connection.execute(update(account).where(account.c.id == 1).values(epoch=epoch))
    return epoch


def held(connection: Connection) -> int:
    """The epoch of whoever holds the lease; the row is locked for the transaction."""
    statement = select(account.c.epoch).where(account.c.id == 1).with_for_update()
    return int(connection.execute(statement).scalar_one())


def pickle(connection: Connection) -> str:
    """The Olm account, sealed."""
    return str(connection.execute(select(account.c.pickle).where(account.c.id == 1)).scalar_one())


def save_pickle(connection: Connection, pickle: str) -> None:
    """Keeps the Olm account as it is now."""
    connection.execute(update(account).where(account.c.id == 1).values(pickle=pickle))


def device_uploaded(connection: Connection) -> bool:
    """Whether the homeserver took our device keys."""
    statement = select(account.c.device_uploaded).where(account.c.id == 1)
    return bool(connection.execute(statement).scalar_one())


def set_device_uploaded(connection: Connection, uploaded: bool) -> None:
    """Notes that the homeserver has our device keys, or has them no more."""
    connection.execute(update(account).where(account.c.id == 1).values(device_uploaded=uploaded))


def next_rank(connection: Connection) -> int:
    """A number greater than all that were given out before."""
    connection.execute(update(account).where(account.c.id == 1).values(rank=account.c.rank + 1))
    return int(connection.execute(select(account.c.rank).where(account.c.id == 1)).scalar_one())
