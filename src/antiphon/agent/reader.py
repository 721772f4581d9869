"""One reader of one thread: it pulls from the live log at its own position, catches up from the
database, and gets a snapshot where it can't or is too slow."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from antiphon.agent import snapshots
from antiphon.agent.hub import Hub, ThreadState
from antiphon.agent.model import ThreadId
from antiphon.agent.store import events, reading
from antiphon.agent_api.messages import Cursor
from antiphon.db import Database

BATCH = 64
PAGE = 256
"""Events that are sent in one go, from memory and from the database."""


class From(msgspec.Struct, frozen=True):
    """Where a reader begins: after `seq`, replaying up to `replay_to`; or (`seq` None) with a
    snapshot of `run_id`."""

    run_id: str
    seq: int | None
    replay_to: int = 0


class Reader:
    """Made when a connection attaches; `close` when it detaches or ends."""

    def __init__(self, hub: Hub, state: ThreadState, database: Database, wake: Callable[[], None]):
        self._hub = hub
        self._state = hub.hold(state.thread)
        self._database = database
        self._on_news = wake
        self._run_id = ""
        self._seq = 0
        self._replay_to = 0
        self._owes_snapshot = False
        self._begun = 0
        self.closed = False
        self._state.log.watch(self)

    def begin(self, start: From) -> None:
        """Sets (or resets) where it reads."""
        self._begun += 1
        self._run_id = start.run_id
        self._owes_snapshot = start.seq is None
        self._seq = start.seq or 0
        self._replay_to = start.replay_to
        self._on_news()

    @property
    def thread(self) -> ThreadId:
        """The thread that it reads."""
        return self._state.thread

    @property
    def over(self) -> bool:
        """The thread was deleted and all before that was read."""
        log = self._state.log
        return log.closed and log.last_seq <= self._seq and not self._owes_snapshot

    async def take(self) -> list[bytes]:
        """The next frames to send; none when it is up to date. Raises DatabaseError."""
        if self._owes_snapshot:
            return await self._snapshot()
        frames = self._state.log.after(self._seq, BATCH)
        if frames == [] and self._seq < self._replay_to:
            frames = None
        if frames is None:
            if self._seq >= self._replay_to:
                # It fell off the live log: the state now instead of the backlog.
                return await self._snapshot()
            begun, begun_at = self._begun, self._seq
            frames = await self._database.read(
                lambda connection: events.after(connection, self._state.thread, begun_at, PAGE)
            )
            if self._begun != begun or self._seq != begun_at:
                return await self.take()  # it was set elsewhere meanwhile
            if not frames:
                return await self._snapshot()
        if frames:
            self._seq = frames[-1].seq
            self._run_id = frames[-1].run_id
        elif self._state.run is None:
            self._state.log.rest()
        return [frame.body for frame in frames]

    async def _snapshot(self) -> list[bytes]:
        self._owes_snapshot = False
        thread, log = self._state.thread, self._state.log
        running = None if log.answer is None or log.answer.over else log.answer
        made: list[bytes] = []
        if running is None or running.run_id != self._run_id:
            run_id, begun = self._run_id, self._begun
            stored = await self._database.read(
                lambda connection: reading.snapshot(connection, thread, run_id)
            )
            if self._begun != begun:
                return await self.take()  # it was set elsewhere meanwhile
            if stored is not None:
                self._seq = stored.seq
                made.append(snapshots.encode(stored))
            else:
                self._seq = max(self._seq, log.last_seq)  # erased: nothing to show
            running = None if log.answer is None or log.answer.over else log.answer
        if running is not None:
            # Also where another run's end was asked for: what follows is this one's.
            self._seq, self._run_id = log.last_seq, running.run_id
            made.append(snapshots.encode(snapshots.live(running, thread.thread_id, self._seq)))
        self._replay_to = 0
        return made

    def close(self) -> None:
        """Ends it; calling it again does nothing."""
        if self.closed:
            return
        self.closed = True
        self._state.log.unwatch(self)
        self._hub.drop(self._state)

    # --- for the log ----------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self._seq

    def wake(self) -> None:
        self._on_news()

    def back_to(self, seq: int) -> None:
        self._seq = min(self._seq, seq)
        self._replay_to = min(self._replay_to, seq)


async def start_of(
    state: ThreadState, database: Database, run_id: str, cursor: Cursor | None
) -> From:
    """Where a reader with this cursor begins."""
    if cursor is None:
        return From(run_id, None)
    here = state.log.at(cursor.seq)
    if here is not None and (here.run_id, here.attempt) == (cursor.run_id, cursor.attempt):
        return From(cursor.run_id, cursor.seq, state.log.last_seq)
    place = await database.read(lambda connection: reading.place(connection, state.thread, cursor))
    if place.after_seq is None:
        return From(run_id, None)
    return From(cursor.run_id, place.after_seq, max(place.last_seq, state.log.last_seq))
