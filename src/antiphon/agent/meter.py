"""What a run uses, counted as it goes: by the model's own counts where it gives them, else as
`tokens` estimates. No I/O: the recorder stores it with every commit, so a crash loses little.
"""

from __future__ import annotations

from antiphon.agent import tokens
from antiphon.agent.engines.port import StepDone
from antiphon.agent_api.messages import Usage

MOST = 2**53
"""Counts of a model above this (or below 0) are none."""


class Meter:
    """The count of one run; `before` is what its earlier attempts have used.

    A step counts from the first sign of it: one that was refused costs nothing, and one that broke
    off (a crash, a cancel) costs its question and what came of the answer, estimated."""

    def __init__(self, before: Usage):
        self._input = before.input_tokens
        self._output = before.output_tokens
        self._steps = before.steps
        self._estimated = before.estimated
        self._heard = False
        self._asked = self._plain = self._rest = 0

    def begin(self, input_tokens: int) -> None:
        """A step is asked for, with a prompt that is estimated at `input_tokens`."""
        if self._heard:
            self._add(None, None)
        self._asked, self._plain, self._rest = input_tokens, 0, 0

    def hear(self, text: str) -> None:
        """The model gave this: answer, reasoning, or the call of a tool."""
        self._heard = True
        plain, rest = tokens.weight(text)
        self._plain += plain
        self._rest += rest

    def end(self, done: StepDone) -> None:
        """The step is whole."""
        for call in done.calls:
            self.hear(call.name + call.args)
        self._add(done.input_tokens, done.output_tokens)

    def usage(self, seconds: float) -> Usage:
        """All so far. `seconds`: how long the run's attempts have worked."""
        return Usage(
            input_tokens=self._input + (self._asked if self._heard else 0),
            output_tokens=self._output + (self._said if self._heard else 0),
            seconds=seconds,
            steps=self._steps + self._heard,
            estimated=self._estimated or self._heard,
        )

    @property
    def _said(self) -> int:
        return tokens.of_weight(self._plain, self._rest)

    def _add(self, input_tokens: int | None, output_tokens: int | None) -> None:
        counted_in, counted_out = _sane(input_tokens), _sane(output_tokens)
        self._input += self._asked if counted_in is None else counted_in
        self._output += self._said if counted_out is None else counted_out
        self._steps += 1
        self._estimated = self._estimated or counted_in is None or counted_out is None
        self._heard = False


def _sane(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= MOST else None
