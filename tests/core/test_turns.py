"""The turn's state machine: every decision is a legal move, and ends stay ends."""

from __future__ import annotations

import itertools

import pytest

from antiphon.core.model import OPEN_STATES, TurnState
from antiphon.core.turns import (
    MOVES,
    AnswerRedacted,
    AnswerSeen,
    Facts,
    Happening,
    QuestionEdited,
    QuestionRedacted,
    RoomLeft,
    Stopped,
    decide,
)

HAPPENINGS: tuple[Happening, ...] = (
    Stopped(),
    QuestionEdited("new", again=True),
    QuestionEdited("new", again=False),
    QuestionRedacted(),
    AnswerRedacted(),
    RoomLeft(),
    AnswerSeen(),
)
ALL = [
    Facts(state, is_question, asked)
    for state, is_question, asked in itertools.product(TurnState, (True, False), (True, False))
]


@pytest.mark.parametrize("happening", HAPPENINGS, ids=lambda h: type(h).__name__)
@pytest.mark.parametrize("facts", ALL, ids=str)
def test_every_decision_is_a_legal_move(facts: Facts, happening: Happening) -> None:
    change = decide(facts, happening)
    if change is None:
        return
    assert change.state is facts.state or change.state in MOVES[facts.state]
    if change.owed is not None:
        assert facts.asked or facts.state in (TurnState.RUNNING, TurnState.WAITING)
    if change.state is TurnState.QUEUED:
        assert change.text is not None


@pytest.mark.parametrize("facts", ALL, ids=str)
def test_a_question_taken_back_is_withdrawn_whatever_state_it_was_in(facts: Facts) -> None:
    change = decide(facts, QuestionRedacted())
    if facts.state is TurnState.WITHDRAWN:
        assert change is None
        return
    assert change is not None
    assert (change.state, change.redact, change.void) == (TurnState.WITHDRAWN, True, True)
    assert change.owed == ("withdraw" if facts.asked else None)


def test_what_has_ended_is_never_run_again_but_by_an_edit() -> None:
    for facts in ALL:
        if facts.state in OPEN_STATES:
            continue
        for happening in HAPPENINGS:
            change = decide(facts, happening)
            if change is not None and change.state in OPEN_STATES:
                assert isinstance(happening, QuestionEdited)
                assert happening.again
                assert facts.state is TurnState.DELIVERED


def test_stop_lets_a_running_answer_end_by_the_agents_word() -> None:
    change = decide(Facts(TurnState.RUNNING, True, True), Stopped())
    assert change is not None
    assert (change.state, change.owed, change.interrupt) == (TurnState.RUNNING, "cancel", False)
