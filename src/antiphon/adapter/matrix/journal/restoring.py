"""A journal from an older moment, fitted to the present before it takes the present one's place."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, select, update

from antiphon.adapter.matrix.journal import debts, outbox
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.schema import account
from antiphon.adapter.matrix.journal.schema import turn as turns
from antiphon.core.ids import RunId, ThreadId, UserId
from antiphon.db.dump import Dump
from antiphon.sdk.interface import Run

FAR = 1_000_000
"""How far the epoch moves where the present one can't be read."""


class Known(msgspec.Struct, frozen=True):
    """What a journal says of itself, and still owes to the agent and (redactions) to rooms."""

    user_id: UserId
    device_id: str
    epoch: int
    debts: tuple[Debt, ...]
    redactions: tuple[Entry, ...]


def known_of(taken: Dump) -> Known | None:
    """The same from a dump, of any schema; None for a journal of nobody."""
    rows = taken.rows("account")
    if not rows:
        return None
    owed = tuple(
        Debt(row["kind"], ThreadId(row["thread_id"]), RunId(row["run_id"]))
        for row in taken.rows("debt")
    )
    redactions = tuple(
        msgspec.convert({name: row[name] for name in Entry.__struct_fields__}, Entry)
        for row in taken.rows("outbox")
        if (row["kind"], row["state"]) == ("redact", "pending")
    )
    row = rows[0]
    return Known(UserId(row["user_id"]), row["device_id"], int(row["epoch"]), owed, redactions)


class Fitting(msgspec.Struct, frozen=True):
    """What changes in a journal that comes back: threads that have `moved`, the `epoch` that it
    gets at least, the device (None: its own), and what the present one owes."""

    moved: Mapping[ThreadId, ThreadId]
    epoch: int
    device_id: str | None
    debts: tuple[Debt, ...]
    redactions: tuple[Entry, ...]
    now_ms: int


def put_back(connection: Connection, fitting: Fitting) -> None:
    """Turns whose thread has moved go on in the new one, with what was frozen for them; what is
    owed to a thread is owed to both, what must not stay readable in a room is still taken back;
    no lease of before is valid any more."""
    for old, new in fitting.moved.items():
        _move(connection, old, new)
    for owed in (*fitting.debts, *debts.pending(connection)):
        debts.add(connection, owed, fitting.now_ms)
        moved_to = fitting.moved.get(owed.thread_id)
        if moved_to is not None and owed.kind != "forget":
            copy = msgspec.structs.replace(owed, thread_id=moved_to)
            debts.add(connection, copy, fitting.now_ms)
    for redaction in fitting.redactions:
        outbox.put(connection, redaction, fitting.now_ms)
    raise_epoch(connection, fitting.epoch)
    if fitting.device_id is not None:
        connection.execute(
            update(account).where(account.c.id == 1).values(device_id=fitting.device_id)
        )


def epoch_of(connection: Connection) -> int:
    """The epoch of the lease, held against others until this transaction ends; 0: none yet."""
    query = select(account.c.epoch).where(account.c.id == 1).with_for_update()
    return int(connection.execute(query).scalar_one_or_none() or 0)


def raise_epoch(connection: Connection, at_least: int) -> None:
    """The epoch becomes one above all leases up to `at_least`, and up to its own."""
    epoch = max(epoch_of(connection), at_least) + 1
    connection.execute(update(account).where(account.c.id == 1).values(epoch=epoch))


def _move(connection: Connection, old: ThreadId, new: ThreadId) -> None:
    rows = connection.execute(
        select(turns.c.turn_id, turns.c.run).where(turns.c.thread_id == old)
    ).all()
    for turn_id, frozen in rows:
        run = frozen
        if frozen is not None:
            decoded = msgspec.json.decode(frozen, type=Run)
            moved = msgspec.structs.replace(decoded, thread_id=new)
            run = msgspec.json.encode(moved).decode()
        connection.execute(
            update(turns).where(turns.c.turn_id == turn_id).values(thread_id=new, run=run)
        )
