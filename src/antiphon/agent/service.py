"""What each verb does: the agent's threads and runs behind one object, without sockets.

Verbs of one thread come one at a time and in order (the caller holds the thread's lock). Raises
AgentProtocolError with an `ErrorCode` where a verb is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from antiphon.agent import archive
from antiphon.agent.hub import Hub, ThreadState
from antiphon.agent.live import Reason
from antiphon.agent.model import Frame, FrozenSettings, ThreadId
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.reader import From, start_of
from antiphon.agent.store import archives, lifecycle, reading, runs
from antiphon.agent.supervisor import Supervisor
from antiphon.agent.tools.port import Tool
from antiphon.agent_api.messages import Attach, ErrorCode, RunStart
from antiphon.clock import Clock
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import AgentProtocolError, AntiphonError, DatabaseError
from antiphon.settings import AgentSettings

T = TypeVar("T")

DEFAULT_PROMPT = (
    "You are a helpful assistant in a chat room. Answer in the language of the question, "
    "clearly and briefly; use Markdown where it helps."
)


class Service:
    """The verbs. `stopping` refuses new work."""

    def __init__(
        self,
        *,
        hub: Hub,
        database: Database,
        supervisor: Supervisor,
        registry: EngineRegistry,
        tools: Mapping[str, Tool],
        settings: AgentSettings,
        clock: Clock,
    ):
        self.hub = hub
        self.database = database
        self._supervisor = supervisor
        self._registry = registry
        self._tools = tools
        self._settings = settings
        self._clock = clock
        self.stopping = False

    def check_open(self) -> None:
        """Raises AgentProtocolError `shutting_down` while the service stops."""
        if self.stopping:
            raise AgentProtocolError(
                "The agent is stopping. Try again in a moment.",
                code=ErrorCode.SHUTTING_DOWN,
                retryable=True,
            )

    async def start(self, state: ThreadState, verb: RunStart) -> tuple[bool, From]:
        """Starts the run or finds it; whether it is new, and where a reader of it begins."""
        wanted = self._wanted(state.thread, verb)
        now = self._clock.now_ms()
        crash_point("run.before_created")
        started = await self.database.write(
            lambda connection: lifecycle.start(connection, wanted, now)
        )
        crash_point("run.created")
        if not started.is_new:
            return False, await start_of(state, self.database, verb.run_id, verb.cursor)
        first = started.frames[0].seq - 1
        stopping = self.stopping
        if stopping:
            # The run waits in the database for the next start, and has lost no attempt by it.
            await self.database.write(
                lambda connection: runs.park(connection, wanted.thread, wanted.run_id)
            )
        self._supervisor.start(state, started, parked=stopping)
        return True, From(verb.run_id, first, first)

    def _wanted(self, thread: ThreadId, verb: RunStart) -> lifecycle.Start:
        asked = verb.settings
        settings: FrozenSettings | None = None
        refusal: AgentProtocolError | None = None
        model = asked.model or self._registry.default_model()
        try:
            self._registry.resolve(model)
        except AntiphonError as error:
            refusal = AgentProtocolError(error.message, code=ErrorCode.UNKNOWN_MODEL)
        else:
            mine = self._settings
            settings = FrozenSettings(
                model=model,
                system_prompt=_in_language(
                    _first(asked.system_prompt, mine.system_prompt or DEFAULT_PROMPT),
                    asked.language,
                ),
                tools=_first(asked.tools, tuple(self._tools)),
                max_output_tokens=_first(asked.max_output_tokens, mine.max_output_tokens),
                history_tokens=mine.history_tokens,
                max_steps=mine.max_steps,
                deadline_s=_first(asked.deadline_s, mine.deadline_s),
            )
        return lifecycle.Start(thread, verb.run_id, verb.input, body_hash(verb), settings, refusal)

    async def attach(self, state: ThreadState, verb: Attach) -> From:
        """Where a reader begins. Raises `thread_gone`, or `not_found` for a thread or run that
        there is not."""
        thread = state.thread
        seen = verb.cursor.run_id if verb.cursor else None
        run_id = await self.database.read(
            lambda connection: reading.readable(connection, thread, verb.run_id, seen)
        )
        if run_id is None:
            raise AgentProtocolError("There is no such thread or run.", code=ErrorCode.NOT_FOUND)
        return await start_of(state, self.database, run_id, verb.cursor)

    async def cancel(self, state: ThreadState, run_id: str) -> None:
        """Ends the run, or leaves a tombstone; returns when that is durable."""
        now = self._clock.now_ms()
        async with self.stopped(state, run_id, Reason.CANCEL):
            crash_point("cancel.before_commit")
            frames = await self.database.write(
                lambda connection: lifecycle.cancel(connection, state.thread, run_id, now)
            )
        crash_point("cancel.committed")
        publish(state, frames)

    async def withdraw(self, state: ThreadState, run_id: str) -> None:
        """Ends the run and erases it; returns when that is durable and no copy is left in the
        database's files."""
        now = self._clock.now_ms()
        async with self.stopped(state, run_id, Reason.ERASE):
            frames = await self.database.write(
                lambda connection: lifecycle.withdraw(connection, state.thread, run_id, now)
            )
        await self.forget(state, frames)

    async def forget(self, state: ThreadState, frames: list[Frame]) -> None:
        """After runs of the thread were erased, ending with `frames`: leaves no copy of them in
        memory or in the database's files."""
        publish(state, frames)
        state.log.forget()
        if state.run is not None:
            state.run.forgets = True
        self.hub.erasures += 1
        await self.database.scrub()

    async def delete(self, state: ThreadState) -> None:
        """Erases the thread; returns as `withdraw` does. Its readers end."""
        now = self._clock.now_ms()
        async with self.stopped(state, None, Reason.ERASE):
            await self.database.write(
                lambda connection: lifecycle.delete_thread(connection, state.thread, now)
            )
        state.log.close()
        self.hub.erasures += 1
        await self.database.scrub()

    async def export(self, thread: ThreadId) -> bytes:
        """The archive of what the thread remembers now. Raises AgentProtocolError: `thread_gone`,
        `not_found` where that is nothing, `archive_too_large`."""
        found = await self.database.read(lambda connection: archives.read(connection, thread))
        if found is None:
            raise AgentProtocolError(
                "There is no such thread, or no run of it has ended.", code=ErrorCode.NOT_FOUND
            )
        return await asyncio.to_thread(archive.encode, found)

    async def import_(self, state: ThreadState, data: bytes) -> None:
        """Makes the thread with the memory in `data`; returns when that is durable. Raises
        AgentProtocolError: `bad_archive`, `thread_gone`, `conflict`."""
        brought = await asyncio.to_thread(archive.decode, data)
        now = self._clock.now_ms()
        await self.database.write(
            lambda connection: archives.write(connection, state.thread, brought, now)
        )

    @asynccontextmanager
    async def stopped(
        self, state: ThreadState, run_id: str | None, reason: Reason
    ) -> AsyncIterator[None]:
        """Stops the work on a run (None: on whatever runs) before the block, which records its
        end. Where that fails, the verb was refused, so the run goes on."""
        live = state.run
        if live is None or run_id not in (None, live.run_id):
            yield
            return
        live.interrupt(reason)
        await live.over()
        try:
            yield
        except DatabaseError:
            if not self.stopping:
                self._supervisor.again(state, live.run_id)
            raise

    def now_ms(self) -> int:
        """The wall clock."""
        return self._clock.now_ms()

    def models(self) -> tuple[str, tuple[str, ...]]:
        """The model that answers where a run names none, and all that one may name."""
        return self._registry.default_model(), self._registry.allowed()

    @property
    def running_runs(self) -> int:
        """How many runs this process works on."""
        return len(self.hub.live())


def body_hash(verb: RunStart) -> str:
    """What two starts of one run must share: input and settings, however the frame was written."""
    canonical = msgspec.json.encode((verb.input, verb.settings))
    return hashlib.sha256(canonical).hexdigest()


def _first(wanted: T | None, otherwise: T) -> T:
    return otherwise if wanted is None else wanted


def _in_language(prompt: str, language: str | None) -> str:
    if language is None:
        return prompt
    return f"{prompt}\n\nAnswer in {language}, whatever language you are asked in.".strip()


def publish(state: ThreadState, frames: list[Frame]) -> None:
    """Shows events that were written outside of a run's own loop."""
    if frames:
        state.log.rewind(frames[0].seq - 1)
    for frame in frames:
        state.log.publish(frame, None, committed=True)
