"""What a fake answers, step by step: the vocabulary that `FakePlatform` and `FakeAgent` share, and
the faults that only a wire can have."""

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


class Cut(msgspec.Struct, frozen=True):
    """Every connection is reset. (`FakeAgent`)"""


class Crash(msgspec.Struct, frozen=True):
    """The agent dies and comes back: the last `lost` deltas, sent but never committed, are gone,
    connections are reset, and the run goes on as a new attempt. (`FakeAgent`)"""

    lost: int = 0


class Lose(msgspec.Struct, frozen=True):
    """The next `events` are recorded and not sent. (`FakeAgent`)"""

    events: int = 1


class Repeat(msgspec.Struct, frozen=True):
    """The last `events` are sent once more. (`FakeAgent`)"""

    events: int = 1


class Swap(msgspec.Struct, frozen=True):
    """The next two events are sent in the wrong order. (`FakeAgent`)"""


class Late(msgspec.Struct, frozen=True):
    """A delta of the attempt before arrives, numbered as if it came next. (`FakeAgent`)"""

    text: str


class Raw(msgspec.Struct, frozen=True):
    """This frame is sent as it is. (`FakeAgent`)"""

    data: str


class Strange(msgspec.Struct, frozen=True):
    """An event of a type that only a newer agent knows. (`FakeAgent`)"""


Fault = Cut | Crash | Lose | Repeat | Swap | Late | Raw | Strange
Step = str | asyncio.Event | ToolUse | NextStep | Rewind | Outcome | AntiphonError | Fault
"""`str`: a piece of text. `asyncio.Event`: a gate; the run waits until the test sets it.
`ToolUse`: a tool call (without `result`: it begins; with: it ends; text after it is a new step).
`Outcome`: the run ends so (at the script's end: success). An error: raised to the reader, once;
who asks again gets what follows it (`FakePlatform`; at `FakeAgent` the run ends in it)."""


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


async def gate_or_stop(gate: asyncio.Event, stop: asyncio.Event) -> None:
    """Returns when one of the two is set."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in (gate, stop)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


def words(texts: Sequence[str]) -> Sequence[Step]:
    """The default answer: what was said, word by word."""
    return ["You said:", *(f" {word}" for word in " ".join(texts).split(" "))]
