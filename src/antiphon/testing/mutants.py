"""Faults put into the adapter's code on purpose, to prove that a campaign would see them. Only
`mutant_process` applies them, in a process of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, update

from antiphon.adapter.matrix import answer, runner, sync
from antiphon.adapter.matrix.journal import inbound, outbox, turns
from antiphon.adapter.matrix.journal import journal as journals
from antiphon.adapter.matrix.journal.schema import account
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.model import TurnState
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
    kept: dict[str, list[outbox.Entry]] = {}
    deliver = runner.TurnRunner._deliver

    def freeze(
        self: Any,
        connection: Connection,
        parts: tuple[str, ...],
        *,
        notice: bool,
        outcome: str,
        code: str | None,
        **_: Any,
    ) -> bool:
        expected = (TurnState.QUEUED, TurnState.RUNNING)
        turn_id = self._turn.turn_id
        if not turns.answer(connection, turn_id, outcome, code, expected=expected):
            return False
        kept[turn_id] = self._finals(parts, notice)
        return True

    async def delivers(self: Any, turn: Any, *more: Any) -> Any:
        def put(connection: Connection) -> None:
            for entry in kept.pop(turn.turn_id, []):
                outbox.put(connection, entry, self._clock.now_ms())

        await self._journal.write(put)
        return await deliver(self, turn, *more)

    _replace(answer.AnswerWriter, "freeze", freeze)
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
    """A first sync's history is answered as if it were new."""
    commit_batch = inbound.commit_batch
    make_filter = sync.sync_filter

    def commits(connection: Connection, batch: Any, *more: Any, **named: Any) -> Any:
        if batch.since is None:
            batch = msgspec.structs.replace(batch, since="lost")
        return commit_batch(connection, batch, *more, **named)

    _replace(inbound, "commit_batch", commits)
    _replace(sync, "sync_filter", lambda _: make_filter(50))


MUTANTS: dict[str, Callable[[], None]] = {
    "random_txn": random_txn,
    "cursor_first": cursor_first,
    "not_frozen": not_frozen,
    "no_epoch": no_epoch,
    "replay": replay,
}


def _replace(owner: Any, name: str, value: object) -> None:
    """Puts a fault in the place of what must be there."""
    getattr(owner, name)
    setattr(owner, name, value)
