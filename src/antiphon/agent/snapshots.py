"""Snapshots as frames that fit the protocol's bounds. Pure."""

from __future__ import annotations

import msgspec

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
