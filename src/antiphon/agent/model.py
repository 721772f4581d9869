"""The agent's nouns as frozen values: what its store keeps and its loop works on. No I/O."""

from __future__ import annotations

from typing import Literal

import msgspec

from antiphon.agent_api.messages import AnyEvent, InputPart, RunFailure, Usage

RunStatus = Literal["running", "success", "cancelled", "error", "withdrawn"]
CallState = Literal["asked", "begun", "done"]
CallOutcome = Literal["ok", "error", "unknown"]


class ThreadId(msgspec.Struct, frozen=True):
    """A thread as the agent knows it: the surface whose token named it, and its id there."""

    surface: str
    thread_id: str


class FrozenSettings(msgspec.Struct, frozen=True):
    """What a run was started with, after the agent's defaults: the same for every attempt.

    `model` is a full name (`openai:gpt-5`); `deadline_s` counts the time that attempts worked."""

    model: str
    system_prompt: str
    tools: tuple[str, ...]
    max_output_tokens: int
    history_tokens: int
    max_steps: int
    deadline_s: float


class RunRow(msgspec.Struct, frozen=True):
    """A run as stored. `usage` is as of the last commit; None: an older version made the row, and
    did not count."""

    thread: ThreadId
    run_id: str
    ordinal: int
    status: RunStatus
    attempt: int
    failed_attempts: int
    spent_ms: int
    body_hash: str
    input: tuple[InputPart, ...]
    settings: FrozenSettings | None
    error: RunFailure | None
    created_ms: int
    usage: Usage | None

    @property
    def used(self) -> Usage:
        """What it has used; where that was not counted, what is known."""
        return self.usage or Usage(seconds=self.spent_ms / 1000, estimated=True)


class CallRow(msgspec.Struct, frozen=True):
    """A tool call in the ledger. `content` and `outcome` are there once it is done."""

    call_id: str
    run_id: str
    step: int
    position: int
    name: str
    args: str
    state: CallState = "asked"
    outcome: CallOutcome | None = None
    content: str | None = None
    truncated: bool = False


class StepRow(msgspec.Struct, frozen=True):
    """A model step of a run with the calls that it asked for, in order.

    Not `whole`: the run was cancelled in this step, and `text` is what there was."""

    step: int
    text: str
    whole: bool = True
    calls: tuple[CallRow, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None


class Turn(msgspec.Struct, frozen=True):
    """A run as history: what was asked, what was done and said, and how it ended."""

    run_id: str
    status: RunStatus
    input: tuple[InputPart, ...]
    steps: tuple[StepRow, ...]


class Frame(msgspec.Struct, frozen=True):
    """An event with the bytes that are stored and sent: encoded once, shared by all readers."""

    seq: int
    run_id: str
    attempt: int
    type: str
    body: bytes


_encoder = msgspec.json.Encoder()


def frame(event: AnyEvent) -> Frame:
    """`event` as it is stored and sent."""
    kind = event.__struct_config__.tag
    assert isinstance(kind, str)
    return Frame(event.seq, event.run_id, event.attempt, kind, _encoder.encode(event))
