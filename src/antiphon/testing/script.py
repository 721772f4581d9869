"""What a fake answers, step by step: the vocabulary that `FakePlatform` and `FakeAgent` share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from antiphon.errors import AntiphonError
from antiphon.sdk.interface import Outcome, ToolUse

Q = TypeVar("Q")


class NextStep(msgspec.Struct, frozen=True):
    """The next text belongs to another model step (a blank line stands between)."""


class Rewind(msgspec.Struct, frozen=True):
    """The run is resumed as a new attempt: texts and tools of steps `step` and above are void."""

    step: int = 0


Step = str | asyncio.Event | ToolUse | NextStep | Rewind | Outcome | AntiphonError
"""`str`: a piece of text. `asyncio.Event`: a gate; the run waits until the test sets it.
`ToolUse`: a tool call (without `result`: it begins; with: it ends; text after it is a new step).
`Outcome`: the run ends so (at the script's end: success). An error: raised to the reader, once;
who asks again gets what follows it (`FakePlatform` only)."""


class Script(Generic[Q]):
    """Which steps the next new run takes: those queued by `reply`, else what `default` makes of
    the question."""

    def __init__(self, default: Callable[[Q], Sequence[Step]]):
        self.default = default
        self._queued: list[Sequence[Step]] = []

    def reply(self, *steps: Step) -> None:
        """Queues the answer of the next new run that has none."""
        self._queued.append(steps)

    def take(self, question: Q) -> tuple[Step, ...]:
        """The steps of a new run."""
        return tuple(self._queued.pop(0) if self._queued else self.default(question))
