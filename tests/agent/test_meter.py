"""Counting what a run uses: the model's own numbers, else estimates, each step once."""

from __future__ import annotations

import pytest

from antiphon.agent import tokens
from antiphon.agent.engines.port import StepDone, ToolCall
from antiphon.agent.meter import Meter
from antiphon.agent_api.messages import Usage


def test_the_models_own_counts_are_taken() -> None:
    """And what was estimated while the step ran is forgotten."""
    meter = Meter(Usage())
    meter.begin(1_000)
    meter.hear("some words")
    assert meter.usage(0.5) == Usage(1_000, tokens.estimate("some words"), 0.5, 1, True)
    meter.end(StepDone(input_tokens=7, output_tokens=3))
    assert meter.usage(1.0) == Usage(7, 3, 1.0, 1, False)


def test_a_silent_model_is_estimated_and_that_is_said() -> None:
    """Text, reasoning and calls count; where only one number is given, only the other is ours."""
    meter = Meter(Usage())
    meter.begin(50)
    meter.hear("why? ")
    meter.hear("because")
    call = ToolCall("c1", "clock", '{"zone": "UTC"}')
    meter.end(StepDone((call,)))
    whole = tokens.estimate("why? because" + call.name + call.args)
    assert meter.usage(0) == Usage(50, whole, 0, 1, True)
    meter.begin(60)
    meter.end(StepDone(input_tokens=55))
    assert meter.usage(0) == Usage(105, whole, 0, 2, True)


def test_pieces_weigh_what_the_whole_weighs() -> None:
    """A text that comes letter by letter is not rounded up at each of them."""
    text = "Grüße, 世界! 😀 and plain words"
    meter = Meter(Usage())
    meter.begin(0)
    for character in text:
        meter.hear(character)
    assert meter.usage(0).output_tokens == tokens.estimate(text)


def test_a_step_without_a_sign_counts_nothing() -> None:
    """Nobody pays for a model that could not be reached."""
    meter = Meter(Usage(10, 20, 1.0, 2))
    meter.begin(1_000)
    assert meter.usage(3.0) == Usage(10, 20, 3.0, 2)


def test_a_broken_step_of_an_earlier_attempt_stays_counted() -> None:
    """The next attempt begins with what was stored."""
    first = Meter(Usage())
    first.begin(100)
    first.hear("half an ans")
    stored = first.usage(2.0)
    second = Meter(stored)
    second.begin(100)
    second.hear("an answer")
    second.end(StepDone(input_tokens=90, output_tokens=4))
    half = tokens.estimate("half an ans")
    assert second.usage(5.0) == Usage(190, half + 4, 5.0, 2, True)


@pytest.mark.parametrize("nonsense", [-1, 2**60])
def test_nonsense_of_a_server_is_estimated(nonsense: int) -> None:
    """A count that can't be is none."""
    meter = Meter(Usage())
    meter.begin(9)
    meter.end(StepDone(input_tokens=nonsense, output_tokens=1))
    assert meter.usage(0) == Usage(9, 1, 0, 1, True)
