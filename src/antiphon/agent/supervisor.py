"""Keeps runs going: starts their tasks, takes them over as new attempts after a crash or a
database failure, and stops them in order. Runs outlive the sockets that asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from antiphon import telemetry
from antiphon.agent.calls import CallRunner
from antiphon.agent.hub import Hub, ThreadState
from antiphon.agent.live import Interrupted, LiveRun, Reason
from antiphon.agent.model import RunRow, StepRow, ThreadId
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.problems import report
from antiphon.agent.recorder import Recorder
from antiphon.agent.run_loop import RunLoop
from antiphon.agent.store import lifecycle, reading, runs, steps
from antiphon.agent.thread_access import StoredThread
from antiphon.agent.tools.port import Tool
from antiphon.agent_api.answer import Answer
from antiphon.clock import Chance, Clock
from antiphon.db import Database
from antiphon.errors import DatabaseError, LeaseLostError

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
"""Between attempts while the database fails."""


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

    async def resume_all(self) -> int:
        """Takes over every run that an earlier process left; returns how many."""
        left = await self._database.read(runs.all_running)
        for thread, run_id in left:
            self._launch(self._hub.hold(thread), run_id, None)
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
            self._launch(self._hub.hold(state.thread), started.run.run_id, started.run)

    def _launch(self, state: ThreadState, run_id: str, run: RunRow | None) -> None:
        live = LiveRun(state.thread, run_id)
        state.run = live
        self._group.create_task(self._keep(state, live, run), name=f"run {run_id}")

    async def _keep(self, state: ThreadState, live: LiveRun, run: RunRow | None) -> None:
        try:
            await self._attempts(state, live, run)
        except LeaseLostError:
            telemetry.logger("agent.run").warning("run superseded", run=live.run_id)
        except Interrupted:
            pass  # while it waited for the database: nothing could be recorded
        except Exception as error:  # noqa: BLE001 - one run's bug must not stop the others
            report("agent.run", "run task failed", error, self._chance, run=live.run_id)
        finally:
            if state.run is live:
                state.run = None
                state.log.answer = None
            live.ended()
            self._hub.drop(state)

    async def _attempts(self, state: ThreadState, live: LiveRun, run: RunRow | None) -> None:
        retry_s = FIRST_RETRY_S
        while not await self._tried(state, live, run):
            run = None
            await live.pause(retry_s)
            retry_s = min(LONGEST_RETRY_S, retry_s * 2)

    async def _tried(self, state: ThreadState, live: LiveRun, run: RunRow | None) -> bool:
        """Works on a new run, or takes one over; False when the database failed."""
        try:
            if run is not None:
                await self._attempt(state, live, run, ())
            else:
                await self._resume(state, live)
        except DatabaseError as error:
            telemetry.logger("agent.run").error(
                "run waits for the database", run=live.run_id, error=error.message
            )
            return False
        return True

    async def _resume(self, state: ThreadState, live: LiveRun) -> None:
        now = self._clock.now_ms()
        resumed = await self._database.write(
            lambda connection: lifecycle.resume(connection, live.thread, live.run_id, now)
        )
        if resumed is None:
            return
        telemetry.logger("agent.run").info(
            "run resumed", run=live.run_id, attempt=resumed.run.attempt, status=resumed.run.status
        )
        before = await self._database.read(
            lambda connection: reading.snapshot(connection, live.thread, live.run_id)
        )
        state.log.rewind(resumed.frames[0].seq - 1)
        if before is not None:
            state.log.answer = Answer(live.run_id)
            state.log.answer.apply(before)
        for frame in resumed.frames:
            state.log.publish(frame, None, committed=True)
        if resumed.run.status == "running":
            await self._attempt(state, live, resumed.run, resumed.steps)

    async def _attempt(
        self, state: ThreadState, live: LiveRun, run: RunRow, whole: tuple[StepRow, ...]
    ) -> None:
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
