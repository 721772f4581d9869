"""What a tool may see and do: the notes and the history of the thread that it runs in."""

from __future__ import annotations

from sqlalchemy import Connection

from antiphon.agent.model import RunRow
from antiphon.agent.store import notes, runs, threads
from antiphon.agent.tools.port import Note, PastMessage
from antiphon.clock import Clock
from antiphon.db import Database


class StoredThread:
    """`antiphon.agent.tools.port.ThreadAccess` over the store, for one run."""

    def __init__(self, database: Database, run: RunRow, clock: Clock):
        self._database = database
        self._run = run
        self._clock = clock

    async def add_note(self, text: str, call_id: str) -> Note:
        run, now = self._run, self._clock.now_ms()

        def keep(connection: Connection) -> Note:
            # A tool that outlived its run must not write into what was erased since.
            threads.lock(connection, run.thread)
            runs.check(connection, run.thread, run.run_id, run.attempt)
            return notes.add(connection, run.thread, run.run_id, call_id, text, now)

        return await self._database.write(keep)

    async def notes(self) -> tuple[Note, ...]:
        return await self._database.read(
            lambda connection: notes.all_of(connection, self._run.thread)
        )

    async def search(self, words: str, limit: int) -> tuple[PastMessage, ...]:
        run = self._run
        return await self._database.read(
            lambda connection: notes.search(connection, run.thread, run.ordinal, words, limit)
        )

    def now_ms(self) -> int:
        return self._clock.now_ms()
