"""The world of the state machine over the adapter: a fake homeserver, people, an agent, and lives
of the real adapter over one journal, all on one virtual loop without sockets and threads.

Its methods are what can happen; `machine_judge` says what must be so when all has come to rest.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from antiphon.adapter.matrix import service
from antiphon.adapter.matrix.journal import schema
from antiphon.core.chat_settings import Isolation
from antiphon.core.ids import UserId
from antiphon.core.model import OPEN_STATES
from antiphon.core.scopes import Scope
from antiphon.errors import LeaseLostError
from antiphon.settings import MatrixSettings
from antiphon.testing.direct_client import direct_client
from antiphon.testing.direct_database import MemoryDisk
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.machine_agent import LifePlatform, MachineAgent
from antiphon.testing.machine_life import LIFE, KilledError, Life
from antiphon.testing.machine_parts import POLL_S, replaced
from antiphon.testing.machine_people import People
from antiphon.testing.machine_server import MachineRooms, Remembered
from antiphon.testing.virtual_time import LoopClock, VirtualLoop

LATE_S = 3600
"""No request is on its way for longer."""

REST_S = 12 * 3600
"""After this time without faults everything must have come to rest."""


class Lived:
    """A life and the task that it is."""

    def __init__(self, life: Life, task: asyncio.Task[None], stop: asyncio.Event):
        self.life = life
        self.task = task
        self.stop = stop


class Machine:
    """Everything at rest, with two rooms; `close` it at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.loop = VirtualLoop()
        self._stack.callback(self.loop.close)
        self.clock = LoopClock(self.loop)
        self.disk = MemoryDisk(schema.metadata)
        self._stack.callback(self.disk.close)
        self.server = FakeHomeserver("hs")
        self.rooms = MachineRooms("hs", self.clock)
        self.server.rooms = self.rooms
        self.server.sent = Remembered(self.loop)
        self.me = UserId(self.server.account("bot"))
        self._token = self.server.token(self.me)
        self.agent = MachineAgent()
        self.people = People(self.server, self.me)
        self.life: Lived | None = None
        self.zombies: list[Lived] = []
        self.backup: bytes | None = None
        self.supervised = True
        """Whether an adapter that was killed at a crossing is started again at once."""
        self.gates: list[asyncio.Event] = []
        self.wrongs: list[str] = []
        self._repeated = 0
        self.isolation: Isolation = "room"
        """What a chat is in every room."""
        self.settings = MatrixSettings(allow=("@*:hs",), break_loops=False)
        self._stack.enter_context(replaced(self.disk))
        self.loop.set_exception_handler(self._unexpected)
        for _ in range(2):
            self.people.new_room(inside=True)
        self.start()
        self.pass_time(5)

    def close(self) -> None:
        """Ends everything; the loop is empty then."""
        for gate in self.gates:
            gate.set()
        for lived in [*self.zombies, *([self.life] if self.life else [])]:
            self._kill(lived)
        self.zombies, self.life = [], None
        self.loop.run_until_complete(_cancel_all())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self._stack.close()

    def isolate(self, isolation: Isolation) -> None:
        """What a chat is in every room, before anybody has said anything."""
        self.isolation = isolation
        scope = Scope("surface", "matrix")
        chats, by = self.agent.chats, UserId("@admin:hs")
        self.loop.run_until_complete(
            chats.set_setting(scope, "isolation", isolation, by=by, request_id="isolate")
        )
        self.pass_time(5)

    # --- time -----------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Whatever is due within `seconds` happens."""
        if seconds >= LATE_S:
            self.land()
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self._look()

    def tick(self, turns: int) -> None:
        """A few turns of the loop, without time passing."""
        self.loop.run_until_complete(_turns(turns))
        self._look()

    def suspend(self, seconds: float) -> None:
        """The machine sleeps; time passes for everybody else."""
        if seconds >= LATE_S:
            self.land()
            self.pass_time(1)
        self.loop.jump(seconds)
        self.tick(1)

    def land(self) -> None:
        """The requests that were on their way for long are carried out."""
        for gate in self.gates:
            gate.set()
        self.gates.clear()

    # --- lives of the adapter -------------------------------------------------------------------

    def start(self) -> None:
        """The adapter is started, where it does not run."""
        if self.life is not None:
            return
        life, stop = Life(), asyncio.Event()
        context = contextvars.Context()
        context.run(LIFE.set, life)
        task = self.loop.create_task(self._live(life, stop), context=context)
        life.on_visit = self._visited
        life.wrongs = self.wrongs
        life.on_kill = lambda: self._on_kill(task)
        self.life = Lived(life, task, stop)

    def stop(self) -> None:
        """It is stopped cleanly."""
        if self.life is None:
            return
        lived, self.life = self.life, None
        lived.stop.set()
        self.loop.run_until_complete(asyncio.wait([lived.task]))
        self._ended(lived)

    def kill(self) -> None:
        """It is killed where it stands."""
        if self.life is not None:
            lived, self.life = self.life, None
            self._kill(lived)

    def kill_at(self, crossings: int) -> None:
        """It will be killed at the crossing of this number from now."""
        if self.life is not None:
            self.life.life.die_after(crossings)

    def freeze(self) -> None:
        """The process is stopped (SIGSTOP); another one may be started over the same state."""
        if self.life is not None and not self.zombies:
            self.life.life.freeze()
            self.zombies.append(self.life)
            self.life = None

    def thaw(self) -> None:
        """Stopped processes go on."""
        for lived in self.zombies:
            lived.life.thaw()

    def lose_cursor(self) -> None:
        """The adapter is killed, and its cursor is gone."""
        if self._repeated > int((self.cursor() or "s0")[1:]):
            return  # the known limit: a repeated event can look like the last one that was seen
        self.kill()
        self.end_zombies()
        self.people.cursor_lost(self.joined_by_journal())
        self.disk.run(lambda c: c.execute(update(schema.account).values(next_batch=None)))

    def repeat_event(self, number: int) -> None:
        """One of the newest events that are no state is delivered a second time."""
        events = [
            event
            for event in self.rooms.stream
            if event.part("event_id")
            and event.part("state_key") is None
            and event.room_id
            and event.position > self._arrived(event.room_id)
        ]
        if events and self.cursor() is not None:
            event = events[-1 - number % len(events)]
            self.server.repeat_event(event.room_id, event.raw["event_id"])
            self._repeated = self.rooms.position

    def back_up(self) -> None:
        """A copy of the state is made."""
        if self.cursor() is not None:
            self.backup = self.disk.copy()

    def restore(self) -> None:
        """The adapter is killed, and its state is what it was at the last copy."""
        if self.backup is None:
            return
        self.kill()
        self.end_zombies()
        self.people.restored()
        self.disk.restore(self.backup)

    def end_zombies(self) -> None:
        """Stopped processes are killed."""
        for lived in self.zombies:
            self._kill(lived)
        self.zombies = []

    # --- the journal, as it is on disk ----------------------------------------------------------

    def joined_by_journal(self) -> frozenset[str]:
        """The rooms that the journal knows and has followed."""
        query = select(schema.room.c.room_id).where(
            schema.room.c.membership == "join", schema.room.c.seen.is_not(None)
        )
        return self.disk.run(lambda c: frozenset(c.execute(query).scalars()))

    def left_by_journal(self) -> frozenset[str]:
        """The rooms that the journal knows we are no longer in."""
        query = select(schema.room.c.room_id).where(schema.room.c.membership == "leave")
        return self.disk.run(lambda c: frozenset(c.execute(query).scalars()))

    def owed(self) -> dict[str, Any]:
        """What the journal still has to do, by kind; empty at rest."""
        turn, outbox = schema.turn, schema.outbox
        states = [str(state) for state in OPEN_STATES]
        counts = {
            "turns": select(turn.c.turn_id, turn.c.state, turn.c.text).where(
                turn.c.state.in_(states)
            ),
            "sends": select(outbox.c.txn_id).where(outbox.c.state == "pending"),
            "debts": select(schema.debt),
            "gaps": select(schema.gap),
            "invites": select(schema.room.c.room_id).where(
                schema.room.c.membership.in_(("invite", "joining"))
            ),
            "upgrades": select(schema.room.c.room_id).where(schema.room.c.followed == "owed"),
            "waiting": select(schema.inbound.c.event_id).where(schema.inbound.c.state == "pending"),
        }
        found = self.disk.run(
            lambda c: {name: c.execute(query).fetchall() for name, query in counts.items()}
        )
        return {name: rows for name, rows in found.items() if rows}

    def cursor(self) -> str | None:
        """Where the journal has read to."""
        return self.disk.run(
            lambda c: c.execute(select(func.max(schema.account.c.next_batch))).scalar_one_or_none()
        )

    def epoch(self) -> int:
        """The lease that was taken last."""
        return int(self.disk.run(lambda c: c.execute(select(schema.account.c.epoch)).scalar_one()))

    # --- coming to rest -------------------------------------------------------------------------

    def rest(self) -> None:
        """All faults are over and everything owed is done. Raises AssertionError where it is not
        done in time."""
        self.server.faults.clear()
        self.server._stale.clear()
        self.server.timeline_limit = None
        self.land()
        self.agent.finish_all()
        self.thaw()
        if self.life is not None and self.life.life._fuse is not None:
            self.kill()
        self.start()
        waited = 0.0
        while waited < REST_S:
            self.pass_time(30)
            waited += 30
            self.start()
            if not self.owed() and self.cursor() == f"s{self.rooms.position}":
                break
        else:
            raise AssertionError(f"not at rest: {self.owed()}")
        self.end_zombies()
        self.pass_time(POLL_S + 60)
        assert not self.owed(), f"not at rest any more: {self.owed()}"
        self.agent.prompt = self.agent.quick

    def restart(self) -> None:
        """It is stopped cleanly and started again."""
        self.stop()
        self.start()
        self.pass_time(POLL_S + 60)

    def _arrived(self, room_id: str) -> int:
        """Where our stay in the room began (what was said before is history, repeated or not)."""
        membership, event = self.rooms.membership(room_id, self.me)
        return event.position if event is not None and membership == "join" else self.rooms.position

    # --- inside ---------------------------------------------------------------------------------

    async def _live(self, life: Life, stop: asyncio.Event) -> None:
        await service.serve(
            self.settings,
            Path("machine"),
            direct_client(self.server, self._token, life),
            self.me,
            "DEVICE",
            LifePlatform(self.agent, life),
            self.clock,
            lambda _: None,
            stop,
        )

    def _visited(self, life: Life, name: str) -> None:
        if name == "sync.handed_on":
            life.told = self.left_by_journal()
        elif name == "journal.opened":
            life.epoch = self.epoch()
        elif name == "journal.before_commit" and life.epoch != (now := self.disk.epoch()):
            # Looked at inside the transaction: a lease that is taken right after it is no wrong.
            self.wrongs.append(f"lease {life.epoch} has written after {now} was taken")

    def _on_kill(self, task: asyncio.Task[None]) -> None:
        self.loop.call_soon(task.cancel)

    def _kill(self, lived: Lived) -> None:
        lived.life.kill()
        self.loop.run_until_complete(asyncio.wait([lived.task]))
        self._ended(lived)

    def _look(self) -> None:
        """Notes who has ended by itself."""
        if self.life is not None and self.life.task.done():
            lived, self.life = self.life, None
            self._ended(lived)
            if self.supervised:
                self.start()
        for lived in [z for z in self.zombies if z.task.done()]:
            self.zombies.remove(lived)
            self._ended(lived)

    def _ended(self, lived: Lived) -> None:
        if lived.task.cancelled():
            error: BaseException | None = None
        else:
            error = lived.task.exception()
        if lived.life.dead or error is None:
            return
        if isinstance(error, LeaseLostError) and self._was_overtaken(lived):
            return
        raise AssertionError("the adapter ended by itself") from error

    def _was_overtaken(self, lived: Lived) -> bool:
        return lived is not self.life

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not _of_a_kill(error):
            self.wrongs.append(f"unexpected: {context.get('message')} {error!r}")


def _of_a_kill(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_of_a_kill(inner) for inner in error.exceptions)
    return isinstance(error, KilledError)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
