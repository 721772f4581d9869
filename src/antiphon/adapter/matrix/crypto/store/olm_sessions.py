"""Olm sessions with other devices, and which of those devices need a new one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import pieces, put
from antiphon.adapter.matrix.crypto.store.schema import olm_peer, olm_session

MOST = 8
"""Sessions kept with one device: those used last. An attacker may open as many as it likes."""


class OlmRow(msgspec.Struct, frozen=True):
    """One session with the device of identity key `curve25519`."""

    curve25519: str
    session_id: str
    pickle: str
    rank: int


class Peer(msgspec.Struct, frozen=True):
    """A device, by its owner and identity key, that needs a new session."""

    user_id: str
    curve25519: str


def of(connection: Connection, curve25519: str) -> list[OlmRow]:
    """All sessions with a device, the one used last first."""
    statement = (
        select(olm_session)
        .where(olm_session.c.curve25519 == curve25519)
        .order_by(olm_session.c.rank.desc(), olm_session.c.session_id)
    )
    return [OlmRow(*row) for row in connection.execute(statement)]


def newest(connection: Connection, curves: Iterable[str]) -> dict[str, OlmRow]:
    """Of each of these devices the session to encrypt with; those without one are not in it."""
    found: dict[str, OlmRow] = {}
    for piece in pieces(curves):
        statement = (
            select(olm_session)
            .where(olm_session.c.curve25519.in_(piece))
            .order_by(olm_session.c.rank, olm_session.c.session_id.desc())
        )
        found.update((row[0], OlmRow(*row)) for row in connection.execute(statement))
    return found


def known(connection: Connection, curves: Iterable[str]) -> set[str]:
    """Those of these devices with which there is a session."""
    found: set[str] = set()
    for piece in pieces(curves):
        statement = select(olm_session.c.curve25519).where(olm_session.c.curve25519.in_(piece))
        found.update(connection.execute(statement).scalars())
    return found


def save(connection: Connection, rows: Sequence[OlmRow]) -> None:
    """Keeps sessions as they are now."""
    put(connection, olm_session, [msgspec.structs.asdict(row) for row in rows])


def prune(connection: Connection, curve25519: str) -> None:
    """Forgets the sessions of a device beyond the MOST that were used last."""
    for row in of(connection, curve25519)[MOST:]:
        connection.execute(
            delete(olm_session).where(
                olm_session.c.curve25519 == curve25519,
                olm_session.c.session_id == row.session_id,
            )
        )


def rebuilt_ms(connection: Connection, peer: Peer) -> int | None:
    """When a new session with a device was last asked for; None: never."""
    statement = select(olm_peer.c.rebuilt_ms).where(
        olm_peer.c.user_id == peer.user_id, olm_peer.c.curve25519 == peer.curve25519
    )
    return connection.execute(statement).scalar_one_or_none()


def set_wedged(connection: Connection, peer: Peer, wedged: bool, now_ms: int) -> None:
    """Notes that a device needs a new session, or has got one, at `now_ms`."""
    row = {**msgspec.structs.asdict(peer), "wedged": wedged, "rebuilt_ms": now_ms}
    put(connection, olm_peer, [row])


def wedged(connection: Connection) -> list[Peer]:
    """The devices that need a new session."""
    statement = (
        select(olm_peer.c.user_id, olm_peer.c.curve25519)
        .where(olm_peer.c.wedged)
        .order_by(olm_peer.c.rebuilt_ms, olm_peer.c.user_id, olm_peer.c.curve25519)
    )
    return [Peer(*row) for row in connection.execute(statement)]
