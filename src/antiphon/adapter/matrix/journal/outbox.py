"""The outbox: what must reach a room, under a transaction id that never changes.

A row is committed before its first attempt. While it is `pending` the send may or may not have
happened; repeating it under the same id from the same device is harmless (measured).
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from antiphon.adapter.matrix.journal.schema import outbox
from antiphon.core.ids import EventId, RoomId, TurnId, TxnId, redact_txn


class Entry(msgspec.Struct, frozen=True):
    """One send. `kind`: root (opens a part), final (edits a root to the final text), redact
    (content: the id of the event to redact)."""

    txn_id: TxnId
    turn_id: TurnId
    room_id: RoomId
    part: int
    kind: str
    content: str
    device_id: str
    state: str = "pending"
    event_id: EventId | None = None
    sealed: bool = False

    def body(self) -> dict[str, Any]:
        """The frozen event content."""
        return msgspec.json.decode(self.content, type=dict[str, Any])


def put(connection: Connection, entry: Entry, now_ms: int) -> None:
    """Adds a row, or leaves the one that this transaction id already has as it is."""
    known = connection.execute(
        select(outbox.c.txn_id).where(outbox.c.txn_id == entry.txn_id)
    ).first()
    if known is None:
        connection.execute(
            insert(outbox).values(**msgspec.structs.asdict(entry), created_ms=now_ms)
        )


def sent(
    connection: Connection, txn_id: TxnId, event_id: EventId, *, sealed: bool | None = None
) -> None:
    """The homeserver has it, as `event_id`; `sealed` (None: not known here): encrypted."""
    values: dict[str, object] = {"state": "sent", "event_id": event_id, "content": ""}
    if sealed is not None:
        values["sealed"] = sealed
    connection.execute(update(outbox).where(outbox.c.txn_id == txn_id).values(**values))


def void(connection: Connection, turn_id: TurnId, *, keep_roots: bool = False) -> None:
    """Nothing more of this turn's answer is sent (redactions are), but roots with `keep_roots`."""
    kinds = ("final",) if keep_roots else ("final", "root")
    connection.execute(
        update(outbox)
        .where(
            outbox.c.turn_id == turn_id,
            outbox.c.state == "pending",
            outbox.c.kind.in_(kinds),
        )
        .values(state="failed", content="")
    )


def refused(connection: Connection, txn_id: TxnId) -> None:
    """The homeserver will never take it."""
    connection.execute(
        update(outbox).where(outbox.c.txn_id == txn_id).values(state="failed", content="")
    )


def get(connection: Connection, txn_id: TxnId) -> Entry | None:
    """The row of this transaction id."""
    row = connection.execute(select(outbox).where(outbox.c.txn_id == txn_id)).first()
    return None if row is None else _entry(row)


def by_event(connection: Connection, event_id: EventId) -> Entry | None:
    """The row that became this event."""
    row = connection.execute(select(outbox).where(outbox.c.event_id == event_id)).first()
    return None if row is None else _entry(row)


def taken_back(connection: Connection, turn_id: TurnId, event_id: EventId) -> bool:
    """Whether the redaction of this event of an answer is owed or done."""
    return get(connection, redact_txn(turn_id, event_id)) is not None


def owed_redactions(connection: Connection) -> tuple[Entry, ...]:
    """Redactions that the homeserver has not confirmed, oldest first."""
    rows = connection.execute(
        select(outbox)
        .where(outbox.c.kind == "redact", outbox.c.state == "pending")
        .order_by(outbox.c.created_ms)
    )
    return tuple(_entry(row) for row in rows)


def of_turn(connection: Connection, turn_id: TurnId) -> tuple[Entry, ...]:
    """All rows of a turn: by part, the root before its final."""
    rows = connection.execute(
        select(outbox)
        .where(outbox.c.turn_id == turn_id)
        .order_by(outbox.c.part, outbox.c.created_ms, outbox.c.kind.desc())
    )
    return tuple(_entry(row) for row in rows)


def backlog(connection: Connection) -> tuple[int, int | None]:
    """How many rows are pending, and when the oldest was made (ms)."""
    row = connection.execute(
        select(func.count(), func.min(outbox.c.created_ms)).where(outbox.c.state == "pending")
    ).one()
    return int(row[0]), row[1]


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(
        txn_id=TxnId(row.txn_id),
        turn_id=TurnId(row.turn_id),
        room_id=RoomId(row.room_id),
        part=row.part,
        kind=row.kind,
        content=row.content,
        device_id=row.device_id,
        state=row.state,
        event_id=EventId(row.event_id) if row.event_id else None,
        sealed=bool(row.sealed),
    )
