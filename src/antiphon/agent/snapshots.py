"""Snapshots as frames that fit the protocol's bounds. Pure."""

from __future__ import annotations

import msgspec

from antiphon.agent.model import RunRow, StepRow
from antiphon.agent_api.answer import Answer
from antiphon.agent_api.messages import MAX_FRAME_BYTES, Snapshot, ToolState

_encoder = msgspec.json.Encoder()

LEFT_OUT = "[left out: too much for one frame]"


def live(answer: Answer, thread_id: str, seq: int) -> Snapshot:
    """The state of a running run at `seq`."""
    return Snapshot(
        thread_id=thread_id,
        run_id=answer.run_id,
        attempt=answer.attempt,
        seq=seq,
        status="running",
        texts=answer.texts,
        tools=answer.tools,
        model=answer.model,
    )


def stored(run: RunRow, steps: tuple[StepRow, ...], seq: int) -> Snapshot:
    """The state of a run by its rows, at `seq`."""
    return Snapshot(
        thread_id=run.thread.thread_id,
        run_id=run.run_id,
        attempt=run.attempt,
        seq=seq,
        status="cancelled" if run.status == "withdrawn" else run.status,
        texts=tuple(step.text for step in steps),
        tools=tuple(
            ToolState(call.call_id, call.name, call.step, call.args, call.content, call.outcome)
            for step in steps
            for call in step.calls
        ),
        model=run.settings.model if run.settings else None,
        error=run.error,
        usage=None if run.status == "running" else run.usage,
    )


def encode(snapshot: Snapshot) -> bytes:
    """The frame. What tools took and gave is left out where it would not fit; texts always do
    (a run's answer is bounded)."""
    data = _encoder.encode(snapshot)
    if len(data) <= MAX_FRAME_BYTES:
        return data
    bare = tuple(_bare(tool) for tool in snapshot.tools)
    return _encoder.encode(msgspec.structs.replace(snapshot, tools=bare))


def _bare(tool: ToolState) -> ToolState:
    content = None if tool.content is None else LEFT_OUT
    return msgspec.structs.replace(tool, args="", content=content)
