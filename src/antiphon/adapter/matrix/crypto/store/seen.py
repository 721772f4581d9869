"""The to-device messages that were taken in, by their digest: what comes again is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select

from antiphon.adapter.matrix.crypto.store.rows import pieces, put
from antiphon.adapter.matrix.crypto.store.schema import seen

KEPT = 5_000
"""How many digests are kept. Only a message between whose two deliveries this many others came
would be taken in twice, which every kind of message bears."""


def known(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Those that were seen."""
    found: set[str] = set()
    for piece in pieces(digests):
        found.update(
            connection.execute(select(seen.c.digest).where(seen.c.digest.in_(piece))).scalars()
        )
    return found


def add(connection: Connection, digests: Sequence[str], rank: int) -> None:
    """These were seen now; the oldest beyond KEPT are forgotten."""
    if not digests:
        return
    put(connection, seen, [{"digest": digest, "rank": rank} for digest in digests])
    oldest = connection.execute(
        select(seen.c.rank).order_by(seen.c.rank.desc()).offset(KEPT - 1).limit(1)
    ).scalar_one_or_none()
    if oldest is not None:
        connection.execute(delete(seen).where(seen.c.rank < oldest))
