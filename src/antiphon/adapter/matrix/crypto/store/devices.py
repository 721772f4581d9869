"""The devices of others, and our own, as their signed keys say. A deleted one is kept: what it said
before is still its."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, select, update

from antiphon.adapter.matrix.crypto.store.rows import pieces, put
from antiphon.adapter.matrix.crypto.store.schema import device


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device: its identity keys (base64), whether it says that it reads encrypted rooms,
    whether its owner's self-signing key signed it, and whether it is gone."""

    user_id: str
    device_id: str
    ed25519: str
    curve25519: str
    megolm: bool
    cross_signed: bool
    deleted: bool


_COLUMNS = [device.c[name] for name in Device.__struct_fields__]


def of(connection: Connection, users: Iterable[str], *, deleted: bool = False) -> list[Device]:
    """The living devices of these users (with `deleted` the others too), in order."""
    found: list[Device] = []
    for piece in pieces(sorted(set(users))):
        statement = (
            select(*_COLUMNS)
            .where(device.c.user_id.in_(piece))
            .order_by(device.c.user_id, device.c.device_id)
        )
        if not deleted:
            statement = statement.where(device.c.deleted.is_(False))
        found += (Device(**row._mapping) for row in connection.execute(statement))
    return found


def get(connection: Connection, user_id: str, device_id: str) -> Device | None:
    """One device, also one that is gone."""
    statement = select(*_COLUMNS).where(
        device.c.user_id == user_id, device.c.device_id == device_id
    )
    row = connection.execute(statement).first()
    return None if row is None else Device(**row._mapping)


def raw(connection: Connection, user_id: str, device_id: str) -> str | None:
    """The keys of a device as they were signed, JSON."""
    statement = select(device.c.raw).where(
        device.c.user_id == user_id, device.c.device_id == device_id
    )
    return connection.execute(statement).scalar_one_or_none()


def raws(connection: Connection, user_id: str) -> dict[str, str]:
    """The keys of all devices of a user as they were signed, by device."""
    statement = select(device.c.device_id, device.c.raw).where(device.c.user_id == user_id)
    return {row[0]: row[1] for row in connection.execute(statement)}


def by_key(connection: Connection, user_id: str, curve25519: str) -> Device | None:
    """The device of a user with this identity key; a living one before one that is gone."""
    statement = (
        select(*_COLUMNS)
        .where(device.c.curve25519 == curve25519, device.c.user_id == user_id)
        .order_by(device.c.deleted, device.c.device_id)
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Device(**row._mapping)


def owners(connection: Connection, curve25519: str) -> set[str]:
    """Who says that a device of theirs has this identity key."""
    statement = select(device.c.user_id).where(device.c.curve25519 == curve25519)
    return set(connection.execute(statement).scalars())


def save(connection: Connection, rows: Sequence[tuple[Device, str]]) -> None:
    """Keeps devices with their keys as signed, each in the place of the one before."""
    put(connection, device, [{**msgspec.structs.asdict(row), "raw": text} for row, text in rows])


def set_cross_signed(connection: Connection, user_id: str, signed: Iterable[str]) -> None:
    """These of the user's devices are signed by their identity, no others."""
    of_user = update(device).where(device.c.user_id == user_id)
    connection.execute(of_user.values(cross_signed=False))
    for piece in pieces(signed):
        connection.execute(of_user.where(device.c.device_id.in_(piece)).values(cross_signed=True))


def delete(connection: Connection, user_id: str, gone: Iterable[str]) -> None:
    """Notes that devices are gone."""
    for piece in pieces(gone):
        connection.execute(
            update(device)
            .where(device.c.user_id == user_id, device.c.device_id.in_(piece))
            .values(deleted=True)
        )
