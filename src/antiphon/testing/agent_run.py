"""The threads and runs of `FakeAgent`: what it records, and how a script becomes events. Sending
is `agent.py`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.messages import (
    AnyEvent,
    Cursor,
    RunErrored,
    RunFinished,
    RunResumed,
    RunStart,
    RunStarted,
    Snapshot,
    TextDelta,
    TextEnd,
    TextStart,
    ToolArgs,
    ToolEnd,
    ToolResult,
    ToolStart,
    Usage,
)
from antiphon.errors import AntiphonError
from antiphon.sdk.interface import Outcome, Progress, ToolUse
from antiphon.testing.script import Crash, Fault, NextStep, Rewind, Step, gate_or_stop


def ended(progress: Progress) -> Outcome | None:
    """How an answer ended, without what it used: that differs from platform to platform."""
    outcome = progress.outcome
    return None if outcome is None else msgspec.structs.replace(outcome, usage=None)


class FakeThread:
    """A thread's events, in the order of `seq`."""

    def __init__(self, thread_id: str):
        self.thread_id = thread_id
        self.log: list[AnyEvent] = []
        self.runs: dict[str, FakeRun] = {}
        self.stopped: set[str] = set()
        self.withdrawn: set[str] = set()
        self.gone = False
        self.arriving = bytearray()

    @property
    def live(self) -> FakeRun | None:
        """The run that has not ended, if there is one."""
        return next((run for run in self.runs.values() if not run.answer.over), None)

    def after(self, cursor: Cursor) -> list[AnyEvent] | None:
        """What came after `cursor`; None where that can't be said and a snapshot is due."""
        for index, event in enumerate(self.log):
            same = (event.run_id, event.attempt) == (cursor.run_id, cursor.attempt)
            if same and event.seq == cursor.seq:
                return self.log[index + 1 :]
            newer = event.run_id == cursor.run_id and event.attempt > cursor.attempt
            if newer and event.seq <= cursor.seq + 1:
                return self.log[index:]
        return None

    def erase_author(self, author: str) -> int:
        """Withdraws the runs that `author` asked for; how many were not withdrawn before."""
        asked = {
            run_id
            for run_id, run in self.runs.items()
            if any(part.author == author for part in run.start.input)
        } - self.withdrawn
        self.withdrawn |= asked
        self.stopped |= asked
        for run_id in asked:
            self.runs[run_id].stop.set()
        return len(asked)

    def archive(self) -> bytes | None:
        """Its ended runs, but for withdrawn ones; None: there is none."""
        past = [
            FakePast(run.start, tuple(event for event in self.log if event.run_id == run_id))
            for run_id, run in self.runs.items()
            if run.answer.over and run_id not in self.withdrawn
        ]
        return msgspec.json.encode(past) if past else None

    def remember(self, archive: bytes) -> str | None:
        """Takes the runs of an archive, once; the code of the refusal, if any."""
        try:
            past = msgspec.json.decode(archive, type=tuple[FakePast, ...])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "bad_archive"
        if self.runs:
            known = [(run.start.run_id, run.start.input) for run in self.runs.values()]
            same = known == [(one.start.run_id, one.start.input) for one in past]
            return None if same else "conflict"
        for one in past:
            start = msgspec.structs.replace(one.start, thread_id=self.thread_id)
            run = self.runs[start.run_id] = FakeRun(self, start, ())
            for event in one.events:
                moved = msgspec.structs.replace(
                    event, thread_id=self.thread_id, seq=len(self.log) + 1
                )
                self.log.append(moved)
                run.answer.apply(moved)
        return None

    def snapshot(self, run: FakeRun) -> Snapshot:
        """The state of a run."""
        view = run.answer.view()
        return Snapshot(
            thread_id=self.thread_id,
            run_id=view.run_id,
            attempt=max(1, view.attempt),
            seq=run.answer.seq,
            status=view.status,
            texts=view.texts,
            tools=view.tools,
            model=view.model,
            error=view.error,
            usage=view.usage,
        )


class FakePast(msgspec.Struct, frozen=True):
    """A run in the fake's own kind of archive."""

    start: RunStart
    events: tuple[AnyEvent, ...]


class FakeRun:
    """One run: its steps become events by `play`."""

    def __init__(self, thread: FakeThread, start: RunStart, steps: tuple[Step, ...]):
        self.thread = thread
        self.start = start
        self.steps = steps
        self.attempt = 1
        self.answer = Answer(start.run_id)
        self.stop = asyncio.Event()
        self._step = 0
        self._speaking = False
        self._calls: dict[tuple[str, str], str] = {}

    def same_body(self, start: RunStart) -> bool:
        """Whether `start` asks for the same thing."""
        return (self.start.input, self.start.settings) == (start.input, start.settings)

    async def play(
        self, deliver: Callable[[AnyEvent], None], fault: Callable[[FakeRun, Fault], None]
    ) -> None:
        """Takes every step; `deliver` gets each recorded event, `fault` what befalls the wire."""

        def emit(kind: Callable[..., AnyEvent], **fields: Any) -> None:
            event = kind(**self._base(), **fields)
            self.thread.log.append(event)
            self.answer.apply(event)
            deliver(event)

        emit(RunStarted, model="fake")
        for step in self.steps:
            if isinstance(step, asyncio.Event):
                await gate_or_stop(step, self.stop)
            else:
                await asyncio.sleep(0)
            if self.stop.is_set():
                break
            if isinstance(step, Fault):
                fault(self, step)
                if isinstance(step, Crash):
                    self._resume(self._step, emit)
            else:
                self._take(step, emit)
            if self.answer.over:
                return
        self._silence(emit)
        outcome = "cancelled" if self.stop.is_set() else "success"
        emit(RunFinished, outcome=outcome, text=self.answer.text, usage=self.usage())

    def usage(self, outcome: Outcome | None = None) -> Usage:
        """What the run says that it used: what the script's outcome says, else words for tokens."""
        if outcome is not None and outcome.usage is not None:
            said = outcome.usage
            tokens = (said.input_tokens, said.output_tokens, said.seconds)
            return Usage(*tokens, steps=self._step + 1, estimated=said.estimated)
        asked = sum(len(part.text.split()) for part in self.start.input)
        return Usage(asked, len(self.answer.text.split()), 0.0, self._step + 1, estimated=True)

    def lose(self, deltas: int) -> None:
        """Takes back the last `deltas` text deltas, as a crash does that comes before their
        commit."""
        for _ in range(deltas):
            if isinstance(self.thread.log[-1], TextDelta):
                self.thread.log.pop()
        self.answer = Answer(self.start.run_id)
        for event in self.thread.log:
            self.answer.apply(event)

    def _base(self) -> dict[str, Any]:
        return {
            "thread_id": self.thread.thread_id,
            "run_id": self.start.run_id,
            "attempt": self.attempt,
            "seq": self.thread.log[-1].seq + 1 if self.thread.log else 1,
        }

    def late(self, text: str) -> AnyEvent:
        """A delta of the attempt before this one, not recorded."""
        base = {**self._base(), "attempt": self.attempt - 1}
        return TextDelta(**base, step=self._step, text=text)

    def strange(self) -> str:
        """The frame of an event of an unknown type; it takes its place in the log."""
        base = self._base()
        self.thread.log.append(TextDelta(**base, step=self._step, text=""))
        return msgspec.json.encode({"v": 1, "type": "mood.changed", **base}).decode()

    def _take(self, step: Step, emit: Callable[..., None]) -> None:
        match step:
            case str():
                if not self._speaking:
                    emit(TextStart, step=self._step)
                    self._speaking = True
                emit(TextDelta, step=self._step, text=step)
            case ToolUse():
                self._use(step, emit)
            case NextStep():
                self._silence(emit)
                self._step += 1
            case Rewind():
                self._resume(step.step, emit)
            case Outcome(kind="success" | "cancelled"):
                self._silence(emit)
                text, usage = self.answer.text, self.usage(step)
                emit(RunFinished, outcome=step.kind, text=text, usage=usage)
            case Outcome() | AntiphonError():
                usage = self.usage(step if isinstance(step, Outcome) else None)
                failure = {"message": step.message, "retryable": step.retryable}
                emit(RunErrored, code=step.code, usage=usage, **failure)

    def _resume(self, step: int, emit: Callable[..., None]) -> None:
        self.attempt += 1
        self._step, self._speaking = step, False
        emit(RunResumed, step=step)

    def _silence(self, emit: Callable[..., None]) -> None:
        if self._speaking:
            emit(TextEnd, step=self._step)
            self._speaking = False

    def _use(self, use: ToolUse, emit: Callable[..., None]) -> None:
        self._silence(emit)
        call_id = self._calls.get((use.name, use.args))
        if call_id is None:
            call_id = f"{self.start.run_id}-call-{len(self._calls) + 1}"
            self._calls[(use.name, use.args)] = call_id
            emit(ToolStart, step=self._step, call_id=call_id, name=use.name)
            emit(ToolArgs, call_id=call_id, args=use.args)
            emit(ToolEnd, call_id=call_id)
        if use.result is not None:
            emit(ToolResult, call_id=call_id, content=use.result, outcome=use.outcome or "ok")
            self._step += 1


__all__ = ["FakeRun", "FakeThread", "ended"]
