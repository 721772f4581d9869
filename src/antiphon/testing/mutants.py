"""Faults put into the adapter's code on purpose, to prove that a campaign would see them. Only
`mutant_process` applies them, in a process of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, update

from antiphon.adapter.matrix import answer, runner, sync
from antiphon.adapter.matrix.cipher import Sealed
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.room_cipher import RoomCipher
from antiphon.adapter.matrix.crypto.store import outbound_groups
from antiphon.adapter.matrix.crypto.store.outbound_groups import OutboundRow
from antiphon.adapter.matrix.journal import inbound, outbox
from antiphon.adapter.matrix.journal import journal as journals
from antiphon.adapter.matrix.journal.schema import account
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.crash import crash_point


def random_txn() -> None:
    """Every send has a transaction id of its own, repeated ones too."""
    send, redact = MatrixClient.send, MatrixClient.redact

    async def sends(self: Any, room_id: str, kind: str, txn_id: str, content: Any) -> str:
        return await send(self, room_id, kind, f"{txn_id}-{secrets.token_hex(4)}", content)

    async def redacts(self: Any, room_id: str, event_id: str, txn_id: str, *more: Any) -> str:
        return await redact(self, room_id, event_id, f"{txn_id}-{secrets.token_hex(4)}", *more)

    _replace(MatrixClient, "send", sends)
    _replace(MatrixClient, "redact", redacts)


def cursor_first() -> None:
    """The cursor is saved, and then what came with it."""
    commit = sync.SyncLoop._commit

    async def commits(self: Any, response: Any, *more: Any) -> Any:
        def save(connection: Connection) -> None:
            connection.execute(update(account).values(next_batch=response.next_batch))

        await self._journal.write(save)
        return await commit(self, response, *more)

    _replace(sync.SyncLoop, "_commit", commits)


def not_frozen() -> None:
    """An answer is called fixed before its text is on disk."""
    kept: dict[str, list[tuple[Any, int]]] = {}
    freeze, deliver = answer.AnswerWriter.freeze, runner.TurnRunner._deliver
    put = outbox.put

    def freezes(self: Any, connection: Connection, *more: Any, **named: Any) -> bool:
        held = kept.setdefault(self._turn.turn_id, [])
        _replace(outbox, "put", lambda _, entry, now_ms: held.append((entry, now_ms)))
        try:
            return freeze(self, connection, *more, **named)
        finally:
            _replace(outbox, "put", put)

    async def delivers(self: Any, turn: Any, *more: Any) -> Any:
        def late(connection: Connection) -> None:
            for entry, now_ms in kept.pop(turn.turn_id, []):
                put(connection, entry, now_ms)

        await self._journal.write(late)
        return await deliver(self, turn, *more)

    _replace(answer.AnswerWriter, "freeze", freezes)
    _replace(runner.TurnRunner, "_deliver", delivers)


def no_epoch() -> None:
    """Nobody asks who holds the lease."""

    async def write(self: Any, function: Callable[[Connection], Any]) -> Any:
        def unfenced(connection: Connection) -> Any:
            done = function(connection)
            crash_point("journal.before_commit")
            return done

        done = await self._database.write(unfenced)
        crash_point("journal.committed")
        return done

    _replace(journals.Journal, "write", write)


def replay() -> None:
    """After a lost cursor a room's history is answered as if it were new."""
    view, make_filter = inbound._view, sync.sync_filter

    def views(news: Any, since: str | None, *more: Any) -> Any:
        return inbound._View(0) if since is None else view(news, since, *more)

    _replace(inbound, "_view", views)
    _replace(sync, "sync_filter", lambda _: make_filter(50))


def keys_after() -> None:
    """The cursor is saved, and then the keys that came with it."""
    commit, received = sync.SyncLoop._commit, RoomCipher.received

    async def nothing(self: Any, response: Any) -> None:
        """Later."""

    async def commits(self: Any, response: Any, *more: Any) -> None:
        await commit(self, response, *more)
        await received(self._cipher, response)

    _replace(RoomCipher, "received", nothing)
    _replace(sync.SyncLoop, "_commit", commits)


def ratchet_late() -> None:
    """Only every third step of a room's ratchet is written down; the others are in memory."""
    kept: dict[str, OutboundRow] = {}
    of, save = outbound_groups.of, outbound_groups.save

    def newest(connection: Connection, room_id: str) -> OutboundRow | None:
        row, held = of(connection, room_id), kept.get(room_id)
        return held if held and row and held.session_id == row.session_id else row

    def saves(connection: Connection, row: OutboundRow) -> None:
        if row.messages % 3:
            kept[row.room_id] = row
        else:
            kept.pop(row.room_id, None)
            save(connection, row)

    _replace(outbound_groups, "of", newest)
    _replace(outbound_groups, "save", saves)


def shared_first() -> None:
    """Devices are noted as having a room's key, and then it is sent to them."""
    share = CryptoMachine.share

    async def shares(self: Any, *more: Any) -> Any:
        batch = await share(self, *more)
        if batch is not None:
            await self.shared(batch)
        return batch

    _replace(CryptoMachine, "share", shares)


def clear_edits() -> None:
    """Partial edits are sent without a look at whether the room is encrypted."""
    seal = RoomCipher.seal

    async def clear(self: Any, room_id: Any, event_type: str, content: Any) -> Any:
        relation = content.get("m.relates_to", {})
        mark = relation.get("io.antiphon.answer", {})
        if relation.get("rel_type") == "m.replace" and mark.get("state") != "final":
            return Sealed(event_type, content)
        return await seal(self, room_id, event_type, content)

    _replace(RoomCipher, "seal", clear)


ENCRYPTED: dict[str, Callable[[], None]] = {
    "keys_after": keys_after,
    "ratchet_late": ratchet_late,
    "shared_first": shared_first,
    "clear_edits": clear_edits,
}
"""Those that only encrypted rooms can show."""

MUTANTS: dict[str, Callable[[], None]] = {
    "random_txn": random_txn,
    "cursor_first": cursor_first,
    "not_frozen": not_frozen,
    "no_epoch": no_epoch,
    "replay": replay,
    **ENCRYPTED,
}


def _replace(owner: Any, name: str, value: object) -> None:
    """Puts a fault in the place of what must be there."""
    getattr(owner, name)
    setattr(owner, name, value)
