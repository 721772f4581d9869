"""The port that every model stands behind: one call is one model step, without memory.

The agent owns the loop: it sends the history, streams what the engine yields, records a whole
step, runs the tools itself (through its ledger) and asks again. An engine never runs a tool,
never keeps a conversation and never retries what has already streamed text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import msgspec

from antiphon.errors import AntiphonError


class UserText(msgspec.Struct, frozen=True, tag="user"):
    """What people said: one message per author and part; `author` is an id of the surface."""

    text: str
    author: str | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="call"):
    """A call that the model asked for. `call_id` is unique in the thread; `args` is JSON text."""

    call_id: str
    name: str
    args: str


class AssistantStep(msgspec.Struct, frozen=True, tag="assistant"):
    """One whole model step: its text and the calls that it asked for."""

    text: str
    calls: tuple[ToolCall, ...] = ()


class ToolReturn(msgspec.Struct, frozen=True, tag="return"):
    """The result of a call; one for each call of the step before it."""

    call_id: str
    name: str
    content: str
    is_error: bool = False


HistoryItem = UserText | AssistantStep | ToolReturn


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do. `context_tokens`: history, question and answer together."""

    tools: bool
    context_tokens: int
    description: str


class StepRequest(msgspec.Struct, frozen=True):
    """One model step: `history` ends with a UserText or a ToolReturn and is already bounded."""

    model: str
    system_prompt: str
    history: tuple[HistoryItem, ...]
    tools: tuple[ToolSpec, ...]
    max_output_tokens: int


class TextChunk(msgspec.Struct, frozen=True):
    """More text of the answer."""

    text: str


class ReasoningChunk(msgspec.Struct, frozen=True):
    """More of the model's reasoning; no part of the answer."""

    text: str


class StepDone(msgspec.Struct, frozen=True):
    """The last thing a step yields. `calls` are the tools asked for; token counts are the
    provider's own, or None."""

    calls: tuple[ToolCall, ...] = ()
    finish: Literal["stop", "length", "tools"] = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None


StepEvent = TextChunk | ReasoningChunk | StepDone


class EngineError(AntiphonError):
    """A step failed. `code` is a `RunErrorCode`: `model_unavailable` (can't be reached, 5xx, 429),
    `model_refused` (key, name, content), `model_failed` (broke off or made no sense). The message
    is a sentence for the person who asked and carries no secret."""

    code = "model_failed"


class Engine(Protocol):
    """A source of model steps."""

    name: str

    def capabilities(self, model: str) -> Capabilities:
        """What `model` (the part after the colon of the setting, or "") can do."""
        ...

    def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        """Runs one model step: chunks as they come, then exactly one StepDone.

        Closing the iterator (or cancelling the task) stops the model's own request. Raises
        EngineError; a step that broke off has yielded no StepDone."""
        ...

    async def check(self) -> None:
        """Cheap test at start that the engine can work with its own model, and warms it up; raises
        SettingsError, MissingExtraError or EngineError, with what to do."""
        ...

    async def look(self, model: str) -> None:
        """As `check`, of `model`, which may be asked for later: nothing is warmed up."""
        ...

    async def close(self) -> None:
        """Ends child processes and connections; idempotent."""
        ...
