"""What a run's events add up to: the one fold that agent and surfaces share, so that a stream that
was cut anywhere and went on by replay or snapshot ends in the same answer. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from antiphon.agent_api.messages import (
    Cursor,
    Event,
    RunErrored,
    RunFailure,
    RunFinished,
    RunResumed,
    RunStarted,
    Snapshot,
    TextDelta,
    ToolArgs,
    ToolResult,
    ToolStart,
    ToolState,
    Usage,
)

Status = Literal["running", "success", "cancelled", "error"]


def join_steps(texts: Iterable[str]) -> str:
    """The whole answer from the texts of its steps: those that say something, a blank line
    between. `RunFinished.text` is made by this and so is the text that a surface shows."""
    return "\n\n".join(text for text in texts if text.strip())


class AnswerView(msgspec.Struct, frozen=True):
    """An answer at one moment; `texts[i]` is the text of step i, trailing empty ones left out."""

    run_id: str
    attempt: int
    texts: tuple[str, ...]
    tools: tuple[ToolState, ...]
    model: str | None
    status: Status
    error: RunFailure | None
    text: str
    usage: Usage | None = None


class Answer:
    """The answer of one run so far. Feed `apply` the run's events in order (each once); read the
    rest at any time. Text is kept in pieces and joined when read, so a delta costs O(1)."""

    def __init__(self, run_id: str):
        self.run_id = run_id
        self.attempt = 0
        self.seq = 0
        self.model: str | None = None
        self.status: Status = "running"
        self.error: RunFailure | None = None
        self.usage: Usage | None = None
        self._texts: list[list[str]] = []
        self._tools: dict[str, ToolState] = {}
        self._final: str | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.status != "running"

    @property
    def cursor(self) -> Cursor | None:
        """The last event applied, or None."""
        if self.attempt == 0:
            return None
        return Cursor(self.run_id, self.attempt, self.seq)

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each step so far, without trailing empty ones."""
        texts = ["".join(pieces) for pieces in self._texts]
        while texts and not texts[-1]:
            texts.pop()
        return tuple(texts)

    @property
    def tools(self) -> tuple[ToolState, ...]:
        """The tool calls in the order in which they were asked for."""
        return tuple(self._tools.values())

    @property
    def text(self) -> str:
        """The answer as a person sees it: `join_steps` of the texts, or the recorded text once
        the run has finished."""
        return join_steps(self.texts) if self._final is None else self._final

    def view(self) -> AnswerView:
        """The state now, as a value."""
        return AnswerView(
            run_id=self.run_id,
            attempt=self.attempt,
            texts=self.texts,
            tools=self.tools,
            model=self.model,
            status=self.status,
            error=self.error,
            text=self.text,
            usage=self.usage,
        )

    def apply(self, event: Event) -> bool:
        """Adds one event; says whether anything that a person sees has changed.

        Events of another run are ignored. Order and repeats are the caller's concern
        (`protocol.Track`)."""
        if event.run_id != self.run_id:
            return False
        self.attempt, self.seq = event.attempt, event.seq
        match event:
            case RunStarted():
                # The very beginning, also where an agent restored from a backup begins anew.
                self._void(0)
                self.model = event.model
            case RunResumed():
                self._void(event.step)
            case TextDelta():
                self._say(event.step, event.text)
                return bool(event.text)
            case ToolStart():
                self._tools[event.call_id] = ToolState(event.call_id, event.name, event.step)
            case ToolArgs():
                self._change(event.call_id, args=event.args)
            case ToolResult():
                self._change(event.call_id, content=event.content, outcome=event.outcome)
            case RunFinished():
                self.status, self._final = event.outcome, event.text
                self.usage = event.usage
            case RunErrored():
                self.status = "error"
                self.error = RunFailure(event.code, event.message, event.retryable)
                self.usage = event.usage
            case Snapshot():
                self._replace(event)
            case _:
                return False
        return True

    def _void(self, step: int) -> None:
        del self._texts[step:]
        self._tools = {i: tool for i, tool in self._tools.items() if tool.step < step}

    def _say(self, step: int, text: str) -> None:
        while len(self._texts) <= step:
            self._texts.append([])
        self._texts[step].append(text)

    def _change(self, call_id: str, **changes: str) -> None:
        tool = self._tools.get(call_id)
        if tool is not None:
            if "args" in changes:
                changes["args"] = tool.args + changes["args"]
            self._tools[call_id] = msgspec.structs.replace(tool, **changes)

    def _replace(self, snapshot: Snapshot) -> None:
        self.model = snapshot.model
        self.status = snapshot.status
        self.error = snapshot.error
        self.usage = snapshot.usage
        self._texts = [[text] for text in snapshot.texts]
        self._tools = {tool.call_id: tool for tool in snapshot.tools}
        self._final = None
