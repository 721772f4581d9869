"""Keeps runs going: starts their tasks, takes them over as new attempts after a crash or a
database failure, and stops them in order. Runs outlive the sockets that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from antiphon import telemetry
from antiphon.agent import snapshots
from antiphon.agent.calls import CallRunner
from antiphon.agent.hub import Hub, ThreadState
from antiphon.agent.live import Interrupted, LiveRun, Reason
from antiphon.agent.model import RunRow, StepRow, ThreadId
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.problems import report
from antiphon.agent.recorder import Recorder
from antiphon.agent.run_loop import RunLoop
from antiphon.agent.store import lifecycle, runs, steps
from antiphon.agent.suspects import Line, is_suspect
from antiphon.agent.thread_access import StoredThread
from antiphon.agent.tools.port import Tool
from antiphon.agent_api.answer import Answer
from antiphon.clock import Chance, Clock
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import DatabaseError, LeaseLostError

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
"""Between attempts while the database fails."""


Work = Callable[[], Awaitable[None]]


class Taken(msgspec.Struct, frozen=True):
    """An attempt that this process may work on: the run, and its whole steps."""

    run: RunRow
    steps: tuple[StepRow, ...] = ()


class Supervisor:
    """The running runs of one process. `group` owns their tasks."""

    def __init__(
        self,
        *,
        group: asyncio.TaskGroup,
        hub: Hub,
        database: Database,
        registry: EngineRegistry,
        tools: Mapping[str, Tool],
        clock: Clock,
        chance: Chance,
    ):
        self._group = group
        self._hub = hub
        self._database = database
        self._registry = registry
        self._tools = tools
        self._clock = clock
        self._chance = chance
        self._line = Line()

    async def resume_all(self) -> int:
        """Takes over every run that an earlier process left, and returns how many; readers that
        come after this see them resumed. Raises DatabaseError."""
        left = await self._database.write(runs.settle)
        for one in left:
            state = self._hub.hold(one.thread)
            if is_suspect(one.failed_attempts):
                live = LiveRun(one.thread, one.run_id)
                self._begin(state, live, partial(self._alone, state, live))
            else:
                self._launch(state, one.run_id, await self._take_over(state, one.run_id))
        return len(left)

    def start(self, state: ThreadState, started: lifecycle.Started, *, parked: bool) -> None:
        """Publishes the first events of a new run and begins its first attempt, unless it has
        ended already (a cancel came before) or is to wait for the next process (`parked`)."""
        run = started.run
        state.log.rewind(started.frames[0].seq - 1)
        runs_now = run.status == "running" and not parked
        if runs_now and run.settings is not None:
            answer = state.log.answer = Answer(run.run_id)
            answer.attempt, answer.model = run.attempt, run.settings.model
        for frame in started.frames:
            state.log.publish(frame, None, committed=True)
        if runs_now:
            self._launch(self._hub.hold(state.thread), run.run_id, Taken(run))

    def _launch(self, state: ThreadState, run_id: str, taken: Taken | None) -> None:
        live = LiveRun(state.thread, run_id)
        self._begin(state, live, partial(self._attempts, state, live, taken))

    def again(self, state: ThreadState, run_id: str) -> None:
        """Goes on, as soon as the database lets it, with a run whose end could not be recorded."""
        live = LiveRun(state.thread, run_id)
        held = self._hub.hold(state.thread)
        self._begin(held, live, partial(self._resumed, held, live, FIRST_RETRY_S))

    def _begin(self, state: ThreadState, live: LiveRun, work: Work) -> None:
        state.run = live
        self._group.create_task(self._keep(state, live, work), name=f"run {live.run_id}")

    async def _keep(self, state: ThreadState, live: LiveRun, work: Work) -> None:
        try:
            await work()
        except LeaseLostError:
            telemetry.logger("agent.run").warning("run superseded", run=live.run_id)
        except Interrupted:
            await self._park(live)
        except Exception as error:  # noqa: BLE001 - one run's bug must not stop the others
            report("agent.run", "run task failed", error, self._chance, run=live.run_id)
        finally:
            if state.run is live:
                state.run = None
                state.log.answer = None
            live.ended()
            self._hub.drop(state)

    async def _park(self, live: LiveRun) -> None:
        """The run was stopped while it waited to be begun. Where the service stops, the next
        process is to know that this was no crash; for the rest whoever stopped it sees to it."""
        if live.reason is not Reason.SHUTDOWN:
            return
        try:
            await self._database.write(lambda c: runs.park(c, live.thread, live.run_id))
        except DatabaseError as error:
            self._waits(live, error)

    async def _alone(self, state: ThreadState, live: LiveRun) -> None:
        """Works on a run that may be what kills us, while no other such run does."""
        telemetry.logger("agent.run").warning("run is resumed alone", run=live.run_id)
        async with self._line.alone(live):
            await self._resumed(state, live, 0)

    async def _resumed(self, state: ThreadState, live: LiveRun, wait_s: float) -> None:
        await self._attempts(state, live, await self._taken_again(state, live, wait_s))

    async def _attempts(self, state: ThreadState, live: LiveRun, taken: Taken | None) -> None:
        """Works on the run until it is over; while the database fails, by new attempts."""
        retry_s = FIRST_RETRY_S
        while taken is not None and not await self._tried(state, live, taken):
            taken = await self._taken_again(state, live, retry_s)
            retry_s = min(LONGEST_RETRY_S, retry_s * 2)

    async def _tried(self, state: ThreadState, live: LiveRun, taken: Taken) -> bool:
        try:
            await self._attempt(state, live, taken)
        except DatabaseError as error:
            self._waits(live, error)
            return False
        return True

    async def _taken_again(self, state: ThreadState, live: LiveRun, retry_s: float) -> Taken | None:
        while True:
            await live.pause(retry_s)
            try:
                return await self._take_over(state, live.run_id)
            except DatabaseError as error:
                self._waits(live, error)
                retry_s = min(LONGEST_RETRY_S, max(FIRST_RETRY_S, retry_s * 2))

    def _waits(self, live: LiveRun, error: DatabaseError) -> None:
        telemetry.logger("agent.run").error(
            "run waits for the database", run=live.run_id, error=error.message
        )

    async def _take_over(self, state: ThreadState, run_id: str) -> Taken | None:
        """Begins the run's next attempt and shows it to readers; None when it is over."""
        thread, now = state.thread, self._clock.now_ms()
        crash_point("resume.before_commit")
        resumed = await self._database.write(
            lambda connection: lifecycle.resume(connection, thread, run_id, now)
        )
        crash_point("resume.committed")
        if resumed is None:
            return None
        run = resumed.run
        telemetry.logger("agent.run").info(
            "run resumed", run=run_id, attempt=run.attempt, status=run.status
        )
        state.log.rewind(resumed.frames[0].seq - 1)
        state.log.answer = None
        if run.status == "running":
            state.log.answer = Answer(run_id)
            state.log.answer.apply(snapshots.stored(run, resumed.steps, resumed.frames[0].seq))
        for frame in resumed.frames:
            state.log.publish(frame, None, committed=True)
        return Taken(run, resumed.steps) if run.status == "running" else None

    async def _attempt(self, state: ThreadState, live: LiveRun, taken: Taken) -> None:
        run, whole = taken.run, taken.steps
        assert run.settings is not None
        thread: ThreadId = state.thread
        turns = await self._database.read(
            lambda connection: steps.turns(connection, thread, run.ordinal)
        )
        recorder = Recorder(self._database, state.log, run, state.log.last_seq, self._clock)
        granted = {name: self._tools[name] for name in run.settings.tools if name in self._tools}
        loop = RunLoop(
            run=run,
            settings=run.settings,
            whole=whole,
            turns=turns,
            live=live,
            recorder=recorder,
            calls=CallRunner(
                run,
                live,
                recorder,
                granted,
                StoredThread(self._database, run, self._clock),
                self._chance,
            ),
            registry=self._registry,
            tools=granted,
            database=self._database,
            clock=self._clock,
            chance=self._chance,
        )
        try:
            await loop.run()
        finally:
            await recorder.close()

    async def stop(self) -> None:
        """Stops the work of all runs and leaves them running in the database, for the next
        process. Returns when that is recorded."""
        live = self._hub.live()
        for run in live:
            run.interrupt(Reason.SHUTDOWN)
        for run in live:
            await run.over()
