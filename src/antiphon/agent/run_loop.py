"""One attempt of a run: model step, its tools, the next step, until the answer is whole.

A step is committed whole before its tools run. Exactly one terminal event comes out, unless the
service stops or another attempt has taken the run over.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

import msgspec
from sqlalchemy import Connection

from antiphon.agent import history
from antiphon.agent.calls import CallRunner
from antiphon.agent.engines.port import (
    Engine,
    EngineError,
    ReasoningChunk,
    StepDone,
    StepRequest,
    TextChunk,
    ToolCall,
)
from antiphon.agent.live import Interrupted, LiveRun, Reason
from antiphon.agent.model import CallRow, FrozenSettings, RunRow, StepRow, Turn
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.problems import clean, report, sentence
from antiphon.agent.recorder import Draft, Recorder
from antiphon.agent.store import ledger, lifecycle, runs, steps
from antiphon.agent.tools.port import Tool
from antiphon.agent_api.answer import join_steps
from antiphon.agent_api.messages import (
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    RunErrorCode,
    RunErrored,
    RunFailure,
    RunFinished,
    TextDelta,
    TextEnd,
    TextStart,
    ToolArgs,
    ToolStart,
)
from antiphon.clock import Chance, Clock
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.errors import SettingsError, StateError

_CODES = frozenset(code.value for code in RunErrorCode)

MAX_ANSWER_CHARS = 150_000
"""A run whose answer grows above this ends in an error: its last event must fit into a frame."""

MAX_DELTA_CHARS = 50_000
"""Reasoning is not kept, so it is not bounded; one delta of it is."""

MAX_ARGS_CHARS = 50_000
"""The same for the arguments of one call."""


class RunLoop:
    """Works on one attempt; `run` is called once."""

    def __init__(
        self,
        *,
        run: RunRow,
        settings: FrozenSettings,
        whole: tuple[StepRow, ...],
        turns: list[Turn],
        live: LiveRun,
        recorder: Recorder,
        calls: CallRunner,
        registry: EngineRegistry,
        tools: Mapping[str, Tool],
        database: Database,
        clock: Clock,
        chance: Chance,
    ):
        self._run = run
        self._settings = settings
        self._steps = list(whole)
        self._turns = turns
        self._live = live
        self._recorder = recorder
        self._calls = calls
        self._registry = registry
        self._tools = tools
        self._database = database
        self._clock = clock
        self._chance = chance
        # Of the step that runs now:
        self._parts: list[str] = []
        self._open = ""  # "text" or "reasoning": which stream is open
        self._text_began = False
        self._chars = sum(len(step.text) for step in whole)

    async def run(self) -> None:
        """Brings the run to its end, or to where another attempt can go on.

        Raises DatabaseError when the end could not be recorded, LeaseLostError when the run is
        no longer this attempt's."""
        try:
            await self._work()
        except Interrupted as stop:
            await self._stopped(stop.reason)
        except (EngineError, SettingsError) as error:
            code = error.code if error.code in _CODES else RunErrorCode.MODEL_REFUSED
            await self._failed(RunFailure(code, error.message, error.retryable))
        except StateError:
            raise
        except Exception as error:  # noqa: BLE001 - a run ends, the service lives
            number = report("agent.run", "run failed", error, self._chance, run=self._run.run_id)
            await self._failed(RunFailure(RunErrorCode.INTERNAL, sentence(number), True))

    async def _work(self) -> None:
        engine, model = self._registry.resolve(self._settings.model)
        while True:
            if self._steps:
                await self._finish_calls()
            if len(self._steps) >= self._settings.max_steps:
                raise EngineError(
                    f"I stopped after {self._settings.max_steps} steps without an answer. "
                    "Please ask for less at a time.",
                    code=RunErrorCode.TOO_MANY_STEPS,
                )
            done = await self._live.guard(self._model_step(engine, model), self._left())
            if not done.calls:
                await self._finished(done)
                return
            await self._keep_step(done)

    def _left(self) -> float:
        return self._settings.deadline_s - self._recorder.spent_ms / 1000

    # --- a model step ---------------------------------------------------------------------------

    async def _model_step(self, engine: Engine, model: str) -> StepDone:
        self._new_step()
        await self._reread()
        request = self._request(engine, model)
        step, meter = len(self._steps), self._recorder.meter
        done: StepDone | None = None
        async with aclosing(engine.step(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                self._live.check()
                match chunk:
                    case TextChunk():
                        meter.hear(chunk.text)
                        await self._text(step, clean(chunk.text))
                    case ReasoningChunk():
                        meter.hear(chunk.text)
                        await self._reasoning(step, clean(chunk.text))
                    case StepDone():
                        done = chunk
                        meter.end(done)
                        break
        if done is None:
            raise EngineError("The model's answer broke off. Please try again.", retryable=True)
        return done

    async def _reread(self) -> None:
        """Reads the history anew where some of it was erased: no model is sent that any more."""
        if not self._live.forgets:
            return
        self._live.forgets = False
        thread, ordinal = self._run.thread, self._run.ordinal
        self._turns = await self._database.read(lambda c: steps.turns(c, thread, ordinal))

    def _request(self, engine: Engine, model: str) -> StepRequest:
        capabilities = engine.capabilities(model)
        specs = tuple(tool.spec for tool in self._tools.values()) if capabilities.tools else ()
        prompt = history.build(
            self._settings, capabilities, specs, self._turns, self._run.input, tuple(self._steps)
        )
        self._recorder.meter.begin(prompt.input_tokens)
        return StepRequest(
            model, prompt.system_prompt, prompt.history, specs, prompt.max_output_tokens
        )

    async def _text(self, step: int, text: str) -> None:
        if not text:
            return
        draft = self._recorder.draft
        if self._open != "text":
            ends = self._ends(step)
            # A second stretch of text in one step (after reasoning) continues the first.
            starts = [] if self._text_began else [draft(TextStart, step=step)]
            self._open, self._text_began = "text", True
            if ends or starts:
                await self._recorder.commit(*ends, *starts)
        self._chars += len(text)
        if self._chars > MAX_ANSWER_CHARS:
            raise EngineError(
                f"The answer grew beyond {MAX_ANSWER_CHARS:,} characters. Please ask for less."
            )
        self._parts.append(text)
        await self._recorder.stream(draft(TextDelta, step=step, text=text))

    async def _reasoning(self, step: int, text: str) -> None:
        if not text:
            return
        draft = self._recorder.draft
        if self._open != "reasoning":
            self._open = "reasoning"
            await self._recorder.commit(draft(ReasoningStart, step=step))
        for start in range(0, len(text), MAX_DELTA_CHARS):
            piece = text[start : start + MAX_DELTA_CHARS]
            await self._recorder.stream(draft(ReasoningDelta, step=step, text=piece))

    def _new_step(self) -> None:
        self._parts, self._open, self._text_began = [], "", False

    def _ends(self, step: int) -> list[Draft]:
        """Closes an open stretch of reasoning."""
        if self._open == "reasoning":
            return [self._recorder.draft(ReasoningEnd, step=step)]
        return []

    def _closing(self, step: int) -> list[Draft]:
        """Closes all that the step has open."""
        ends = self._ends(step)
        if self._text_began:
            ends.append(self._recorder.draft(TextEnd, step=step))
        return ends

    # --- what is recorded -----------------------------------------------------------------------

    async def _keep_step(self, done: StepDone) -> None:
        number = len(self._steps)
        step = StepRow(
            step=number,
            text="".join(self._parts),
            calls=await self._named(done.calls, number),
            input_tokens=done.input_tokens,
            output_tokens=done.output_tokens,
        )
        draft = self._recorder.draft
        asked: list[Draft] = []
        for call in step.calls:
            asked.append(draft(ToolStart, step=number, call_id=call.call_id, name=call.name))
            asked.append(draft(ToolArgs, call_id=call.call_id, args=call.args))
        now = self._clock.now_ms()
        run = self._run
        crash_point("step.before_commit")
        await self._recorder.commit(
            *self._closing(number),
            *asked,
            also=lambda connection: steps.add(connection, run.thread, run.run_id, step, now),
        )
        crash_point("step.committed")
        self._new_step()
        self._steps.append(step)

    async def _named(self, calls: tuple[ToolCall, ...], step: int) -> tuple[CallRow, ...]:
        """The calls with ids that are unique in the thread: the model's own where they are."""
        run = self._run
        ids = [call.call_id for call in calls]
        taken = await self._database.read(
            lambda connection: ledger.known_ids(connection, run.thread, ids)
        )
        rows: list[CallRow] = []
        for position, call in enumerate(calls):
            if len(call.args) > MAX_ARGS_CHARS:
                raise EngineError("The model called a tool with far too much. Please try again.")
            call_id = clean(call.call_id)
            if not call_id or len(call_id) > 128 or call_id in taken:
                call_id = f"call_{run.ordinal}_{step}_{position}"
            taken.add(call_id)
            rows.append(
                CallRow(
                    call_id, run.run_id, step, position, clean(call.name)[:256], clean(call.args)
                )
            )
        return tuple(rows)

    async def _finish_calls(self) -> None:
        last = self._steps[-1]
        calls = [await self._calls.complete(call, self._left()) for call in last.calls]
        self._steps[-1] = msgspec.structs.replace(last, calls=tuple(calls))

    async def _finished(self, done: StepDone) -> None:
        text = join_steps((*(step.text for step in self._steps), "".join(self._parts)))
        if not text:
            raise EngineError("The model gave an empty answer. Please try again.", retryable=True)
        number = len(self._steps)
        step = StepRow(
            step=number,
            text="".join(self._parts),
            input_tokens=done.input_tokens,
            output_tokens=done.output_tokens,
        )
        now, run, usage = self._clock.now_ms(), self._run, self._recorder.usage

        def end(connection: Connection) -> None:
            steps.add(connection, run.thread, run.run_id, step, now)
            runs.end(connection, run.thread, run.run_id, "success", None, now, usage)

        crash_point("end.before_commit")
        await self._recorder.commit(
            *self._closing(number),
            self._recorder.draft(RunFinished, outcome="success", text=text, usage=usage),
            also=end,
        )
        crash_point("end.committed")

    async def _stopped(self, reason: Reason) -> None:
        if reason is Reason.SHUTDOWN:
            run = self._run
            await self._recorder.commit(
                also=lambda connection: runs.park(connection, run.thread, run.run_id)
            )
        elif reason is Reason.DEADLINE:
            await self._failed(
                RunFailure(
                    RunErrorCode.DEADLINE,
                    f"This took longer than {self._settings.deadline_s:g} seconds, so I stopped. "
                    "Please try again.",
                    retryable=True,
                )
            )
        else:
            await self._cancelled(keep=reason is Reason.CANCEL)

    async def _cancelled(self, *, keep: bool) -> None:
        crash_point("cancel.before_end")
        number, now, run = len(self._steps), self._clock.now_ms(), self._run
        usage, so_far = self._recorder.usage, "".join(self._parts)
        text = join_steps((*(step.text for step in self._steps), so_far)) if keep else ""

        def end(connection: Connection) -> None:
            if keep and so_far:
                partial = StepRow(step=number, text=so_far, whole=False)
                steps.add(connection, run.thread, run.run_id, partial, now)
            lifecycle.close_calls(connection, run.thread, run.run_id)
            runs.end(connection, run.thread, run.run_id, "cancelled", None, now, usage)

        await self._recorder.commit(
            *self._closing(number),
            self._recorder.draft(RunFinished, outcome="cancelled", text=text, usage=usage),
            also=end,
        )

    async def _failed(self, failure: RunFailure) -> None:
        number, now, run = len(self._steps), self._clock.now_ms(), self._run
        usage = self._recorder.usage

        def end(connection: Connection) -> None:
            lifecycle.close_calls(connection, run.thread, run.run_id)
            runs.end(connection, run.thread, run.run_id, "error", failure, now, usage)

        await self._recorder.commit(
            *self._closing(number),
            self._recorder.draft(
                RunErrored,
                code=failure.code,
                message=failure.message,
                retryable=failure.retryable,
                usage=usage,
            ),
            also=end,
        )
