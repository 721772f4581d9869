"""Messages whose key comes late: read as soon as it is there, said so politely where it takes long,
and given up with a clear word in the end. What waits is in the journal; this only looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import Connection

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.cipher import ENCRYPTED, Cipher
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import inbound, unreadable
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.sight import Sight
from antiphon.adapter.matrix.journal.unreadable import Waiting
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.rules_watch import RulesWatch
from antiphon.clock import Clock
from antiphon.core.ids import EventId, RoomId, UserId
from antiphon.telemetry import logger

NOTE_AFTER_S = 60.0
GIVE_UP_AFTER_S = 7 * 24 * 3600.0
LOOK_EVERY_S = 30.0
"""How often it is looked what has waited long enough for a word."""

NOT_YET = (
    "I can't read your message yet: the key to it has not reached me. I will answer as soon as it "
    "comes. If it does not, please write it again."
)
GIVEN_UP = "I could not read your message: the key to it never reached me. Please write it again."


class LateKeys:
    """Tries what waits whenever something may have changed."""

    def __init__(
        self,
        journal: Journal,
        cipher: Cipher,
        intake: Intake,
        watch: RulesWatch,
        metrics: Metrics,
        clock: Clock,
    ):
        self._journal = journal
        self._cipher = cipher
        self._intake = intake
        self._watch = watch
        self._metrics = metrics
        self._clock = clock
        self._due = asyncio.Event()
        self._due.set()  # what an earlier life left
        self._log = logger("matrix.late_keys")

    def wake(self) -> None:
        """A key has come, or a message that can't be read."""
        self._due.set()

    async def run(self, committed: Callable[[Committed], Awaitable[None]]) -> None:
        """Works for ever; ends by cancellation. `committed` is told what became readable."""
        while True:
            self._due.clear()
            waiting = await self._journal.read(unreadable.waiting)
            for room_id in dict.fromkeys(one.room_id for one in waiting):
                await self._room(room_id, [w for w in waiting if w.room_id == room_id], committed)
            left = await self._journal.read(unreadable.count)
            self._metrics.unreadable.set(left)
            if left:
                await woken_within(self._due, LOOK_EVERY_S, self._clock)
            else:
                await self._due.wait()

    async def _room(
        self,
        room_id: RoomId,
        waiting: list[Waiting],
        committed: Callable[[Committed], Awaitable[None]],
    ) -> None:
        found = await self._cipher.readable(room_id, [one.event for one in waiting])
        opened = [event for event in found if event.type != ENCRYPTED]
        if opened:
            await self._watch.look((room_id, UserId(event.sender)) for event in opened)
            await committed(
                await self._journal.write(
                    lambda c: inbound.become_readable(
                        c, room_id, opened, self._intake, self._clock.now_ms()
                    )
                )
            )
            self._log.info("became_readable", room=room_id, messages=len(opened))
            self._metrics.late_keys.labels("read").inc(len(opened))
        done = {event.event_id for event in opened}
        left = [one for one in waiting if one.event.event_id not in done]
        now = self._clock.now_ms()
        old = [w for w in left if now - w.since_ms >= GIVE_UP_AFTER_S * 1000]
        new = [w for w in left if not w.noted and now - w.since_ms >= NOTE_AFTER_S * 1000]
        if old and not self._intake.notes_unread(room_id):
            await self._give_up(old)
        elif old:
            await self._say(room_id, old, GIVEN_UP, committed, give_up=True)
            self._metrics.late_keys.labels("given_up").inc(len(old))
        elif new and self._intake.notes_unread(room_id):
            await self._say(room_id, new, NOT_YET, committed, give_up=False)

    async def _give_up(self, about: list[Waiting]) -> None:
        """Without a word."""

        def record(connection: Connection) -> None:
            for one in about:
                unreadable.settled(connection, one.event.event_id, "ignored")

        await self._journal.write(record)

    async def _say(
        self,
        room_id: RoomId,
        about: list[Waiting],
        text: str,
        committed: Callable[[Committed], Awaitable[None]],
        *,
        give_up: bool,
    ) -> None:
        """One note for all of them, under the last."""
        last, now = about[-1], self._clock.now_ms()

        def record(connection: Connection) -> Committed:
            ids = [EventId(one.event.event_id) for one in about]
            result = Committed()
            place = inbound.next_place(connection, room_id)
            sight = Sight(connection, room_id)
            note = self._intake.note(sight, last.event, text, place, now)
            if unreadable.say(connection, note, ids, give_up=give_up):
                result.queued.append(note)
            return result

        self._log.warning(
            "key_given_up" if give_up else "key_missing", room=room_id, messages=len(about)
        )
        await committed(await self._journal.write(record))
