"""The transactions that change what a run or a thread is: each function is all of one transaction.

They assign the seq of the events that they write, from the thread's row, and return them as
frames to be sent once the transaction is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection, delete

from antiphon.agent.model import Frame, FrozenSettings, RunRow, StepRow, ThreadId, frame
from antiphon.agent.store import events, ledger, runs, schema, steps, threads, tombstones
from antiphon.agent_api.messages import (
    AnyEvent,
    ErrorCode,
    InputPart,
    RunErrorCode,
    RunErrored,
    RunFailure,
    RunFinished,
    RunResumed,
    RunStarted,
    Usage,
)
from antiphon.errors import AgentProtocolError

MAX_ATTEMPTS = 3
"""A run whose attempts failed this often ends in an error."""

AT_ONCE = 500
"""Runs that one statement erases: databases bound the values in one."""

UNKNOWN_OUTCOME = (
    "outcome unknown: the agent was interrupted while this tool ran. It may or may not have acted. "
    "Say so, and do not assume either."
)
NOT_RUN = "not run: the run ended before this tool was started."


class Start(msgspec.Struct, frozen=True):
    """What a `run.start` asks for. `settings` is None where `refusal` says why there are none:
    that matters only if the run is new."""

    thread: ThreadId
    run_id: str
    input: tuple[InputPart, ...]
    body_hash: str
    settings: FrozenSettings | None
    refusal: AgentProtocolError | None = None


class Started(msgspec.Struct, frozen=True):
    """What came of it: the run (new or found) and the events to send."""

    run: RunRow
    is_new: bool
    frames: tuple[Frame, ...] = ()


class Resumed(msgspec.Struct, frozen=True):
    """A run taken over as a new attempt. Exhausted: it ended instead (`run.status` says so)."""

    run: RunRow
    steps: tuple[StepRow, ...]
    frames: tuple[Frame, ...]


def refuse_gone(connection: Connection, thread: ThreadId) -> None:
    """Raises AgentProtocolError `thread_gone` when the thread was deleted."""
    if tombstones.find(connection, thread) is not None:
        raise AgentProtocolError(
            "This thread was deleted. Begin another one.", code=ErrorCode.THREAD_GONE
        )


def start(connection: Connection, wanted: Start, now_ms: int) -> Started:
    """Makes the run, or finds it. Raises AgentProtocolError: `thread_gone`, `conflict`,
    `thread_busy`, or the `refusal` of a new run."""
    thread = wanted.thread
    threads.ensure(connection, thread, now_ms)
    refuse_gone(connection, thread)
    found = runs.get(connection, thread, wanted.run_id)
    if found is not None:
        if found.status != "withdrawn" and found.body_hash != wanted.body_hash:
            raise AgentProtocolError(
                f"The run {wanted.run_id} was started with another input or other settings. "
                "Give a new question a new run_id.",
                code=ErrorCode.CONFLICT,
            )
        return Started(found, is_new=False)
    busy = runs.running_of(connection, thread)
    if busy is not None:
        raise AgentProtocolError(
            f"The run {busy} is not over. Wait for its end or cancel it.",
            code=ErrorCode.THREAD_BUSY,
            retryable=True,
        )
    grave = tombstones.find(connection, thread, wanted.run_id)
    if grave is None and wanted.refusal is not None:
        raise wanted.refusal
    return _create(connection, wanted, grave, now_ms)


def _create(connection: Connection, wanted: Start, grave: str | None, now_ms: int) -> Started:
    thread = wanted.thread
    before = runs.latest(connection, thread)
    erased = grave == "withdrawn"
    run = RunRow(
        thread=thread,
        run_id=wanted.run_id,
        ordinal=threads.next_ordinal(connection, thread),
        status="running" if grave is None else "withdrawn" if erased else "cancelled",
        attempt=1,
        failed_attempts=0,
        spent_ms=0,
        body_hash="" if erased else wanted.body_hash,
        input=() if erased else wanted.input,
        settings=None if erased else wanted.settings,
        error=None,
        created_ms=now_ms,
        usage=Usage(),
    )
    runs.create(connection, run)
    seq = (threads.last_seq(connection, thread) or 0) + 1
    model = run.settings.model if run.settings else ""
    frames = [frame(_event(RunStarted, run, seq, model=model))]
    if grave is not None:
        ended = _event(RunFinished, run, seq + 1, outcome="cancelled", text="", usage=run.used)
        frames.append(frame(ended))
        row = schema.tombstones
        connection.execute(
            delete(row).where(threads.of(row, thread, row.c.run_id == wanted.run_id))
        )
    events.append(connection, thread, frames)
    events.prune(connection, thread, {run.run_id} | ({before.run_id} if before else set()))
    return Started(run, is_new=True, frames=tuple(frames))


def resume(connection: Connection, thread: ThreadId, run_id: str, now_ms: int) -> Resumed | None:
    """Takes a running run over as its next attempt; None when it has ended.

    Ends it with `attempts_exhausted` where too many attempts failed."""
    threads.lock(connection, thread)
    run = runs.begin_attempt(connection, thread, run_id)
    if run is None:
        return None
    whole = tuple(step for step in steps.of_run(connection, thread, run_id) if step.whole)
    seq = (threads.last_seq(connection, thread) or 0) + 1
    if run.failed_attempts >= MAX_ATTEMPTS:
        failure = RunFailure(
            RunErrorCode.ATTEMPTS_EXHAUSTED,
            f"I was interrupted {MAX_ATTEMPTS} times while working on this and gave up. "
            "Please ask again.",
            retryable=True,
        )
        ended = frame(
            _event(
                RunErrored,
                run,
                seq,
                code=failure.code,
                message=failure.message,
                retryable=True,
                usage=run.used,
            )
        )
        events.append(connection, thread, [ended])
        close_calls(connection, thread, run_id)
        runs.end(connection, thread, run_id, "error", failure, now_ms, run.used)
        run = msgspec.structs.replace(run, status="error", error=failure, usage=run.used)
        return Resumed(run, whole, (ended,))
    resumed = frame(_event(RunResumed, run, seq, step=len(whole)))
    events.append(connection, thread, [resumed])
    return Resumed(run, whole, (resumed,))


def close_calls(connection: Connection, thread: ThreadId, run_id: str) -> None:
    """Gives every call of the run that has no result one, so that history has no open calls."""
    for call in ledger.of_run(connection, thread, run_id):
        if call.state == "asked":
            ledger.finish(connection, thread, call.call_id, "error", NOT_RUN, False)
        elif call.state == "begun":
            ledger.finish(connection, thread, call.call_id, "unknown", UNKNOWN_OUTCOME, False)


def cancel(connection: Connection, thread: ThreadId, run_id: str, now_ms: int) -> list[Frame]:
    """Ends a run that no loop of this process has; leaves a tombstone for one that is not there.

    Raises AgentProtocolError `thread_gone`."""
    threads.lock(connection, thread)
    refuse_gone(connection, thread)
    run = runs.get(connection, thread, run_id)
    if run is None:
        tombstones.bury(connection, thread, run_id, "cancelled", now_ms)
        return []
    return _end_cancelled(connection, run, now_ms) if run.status == "running" else []


def withdraw(connection: Connection, thread: ThreadId, run_id: str, now_ms: int) -> list[Frame]:
    """As `cancel`, and erases input, output, tool data and events of the run. Only a bare
    terminal event stays, where the run was still running."""
    threads.lock(connection, thread)
    refuse_gone(connection, thread)
    run = runs.get(connection, thread, run_id)
    if run is None:
        tombstones.bury(connection, thread, run_id, "withdrawn", now_ms)
        return []
    return erase(connection, thread, (run_id,), now_ms)


def erase(
    connection: Connection, thread: ThreadId, run_ids: Sequence[str], now_ms: int
) -> list[Frame]:
    """Withdraws these runs, which are there."""
    running = runs.running_of(connection, thread)
    run = runs.get(connection, thread, running) if running and running in run_ids else None
    ended = _end_cancelled(connection, run, now_ms) if run else []
    for first in range(0, len(run_ids), AT_ONCE):
        some = run_ids[first : first + AT_ONCE]
        runs.erase(connection, thread, some)
        events.erase(connection, thread, some, ended[-1].seq if ended else None)
    return ended


def delete_thread(connection: Connection, thread: ThreadId, now_ms: int) -> None:
    """Erases the thread and leaves a tombstone; also for one that never was. Idempotent."""
    threads.lock(connection, thread)
    threads.erase(connection, thread)
    tombstones.bury(connection, thread, "", "deleted", now_ms)


def _end_cancelled(connection: Connection, run: RunRow, now_ms: int) -> list[Frame]:
    seq = (threads.last_seq(connection, run.thread) or 0) + 1
    end = _event(RunFinished, run, seq, outcome="cancelled", text="", usage=run.used)
    ended = [frame(end)]
    events.append(connection, run.thread, ended)
    close_calls(connection, run.thread, run.run_id)
    runs.end(connection, run.thread, run.run_id, "cancelled", None, now_ms, run.used)
    return ended


def _event(kind: Callable[..., AnyEvent], run: RunRow, seq: int, **fields: object) -> AnyEvent:
    return kind(
        thread_id=run.thread.thread_id,
        run_id=run.run_id,
        attempt=run.attempt,
        seq=seq,
        **fields,
    )
