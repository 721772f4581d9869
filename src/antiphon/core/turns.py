"""The turn as a state machine: what may follow what, and what a happening makes of a turn. Pure.

A turn is moved only by compare-and-set from the state that a decision was made in, so whatever
happens at the same time, one decision wins and the other is made anew.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from antiphon.core.model import OPEN_STATES, TurnState

T = TurnState

MOVES: Final = {
    T.QUEUED: frozenset(
        {T.RUNNING, T.ANSWERED, T.CANCELLED, T.WITHDRAWN, T.UNDELIVERABLE, T.DELIVERED}
    ),
    T.RUNNING: frozenset(
        {T.QUEUED, T.WAITING, T.ANSWERED, T.CANCELLED, T.WITHDRAWN, T.UNDELIVERABLE, T.DELIVERED}
    ),
    T.WAITING: frozenset(
        {T.QUEUED, T.RUNNING, T.ANSWERED, T.CANCELLED, T.WITHDRAWN, T.UNDELIVERABLE, T.DELIVERED}
    ),
    T.ANSWERED: frozenset({T.QUEUED, T.CANCELLED, T.DELIVERED, T.WITHDRAWN, T.UNDELIVERABLE}),
    T.DELIVERED: frozenset({T.QUEUED, T.WITHDRAWN}),
    T.UNDELIVERABLE: frozenset({T.WITHDRAWN}),
    T.CANCELLED: frozenset({T.QUEUED, T.WITHDRAWN}),
    T.WITHDRAWN: frozenset[TurnState](),
}
"""Which states may follow a state. Back to `queued` only by an edit of the question, or by asking
it again, which begin another revision."""


class Facts(msgspec.Struct, frozen=True):
    """What a decision about a turn needs to know. `asked`: a run of this revision is frozen, so
    the agent may have it."""

    state: TurnState
    is_question: bool
    asked: bool


class Stopped(msgspec.Struct, frozen=True):
    """Someone said `!stop`."""


class QuestionEdited(msgspec.Struct, frozen=True):
    """The question has another text now. `again`: an answered one is to be answered anew."""

    text: str
    again: bool


class AskedAgain(msgspec.Struct, frozen=True):
    """Who asked it wants it answered anew (`!retry`); `text`: the question as it was."""

    text: str


class QuestionRedacted(msgspec.Struct, frozen=True):
    """The question was taken back."""


class AnswerRedacted(msgspec.Struct, frozen=True):
    """Somebody else redacted our answer."""


class RoomLeft(msgspec.Struct, frozen=True):
    """We are no longer in the room."""


class AnswerSeen(msgspec.Struct, frozen=True):
    """The whole answer to the turn's revision stands in the room."""


Happening = (
    Stopped
    | QuestionEdited
    | AskedAgain
    | QuestionRedacted
    | AnswerRedacted
    | RoomLeft
    | AnswerSeen
)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a turn: its next `state` (the same: it stays), what is `owed` to the agent
    for the run of the old revision, and what follows.

    `text`: the new question of another revision. `void`: nothing that waits in the outbox for the
    old revision is sent. `redact`: all that stands of its answer in the room is redacted.
    `interrupt`: whoever works on it must let go."""

    state: TurnState
    owed: Literal["cancel", "withdraw"] | None = None
    text: str | None = None
    void: bool = False
    redact: bool = False
    interrupt: bool = False


def decide(facts: Facts, happening: Happening) -> Change | None:
    """What `happening` makes of a turn; None where it changes nothing."""
    match happening:
        case Stopped():
            return _stopped(facts)
        case QuestionEdited():
            return _edited(facts, happening)
        case AskedAgain():
            return _asked_again(facts, happening)
        case QuestionRedacted():
            return _redacted(facts)
        case AnswerRedacted():
            return _answer_redacted(facts)
        case RoomLeft():
            return _left(facts)
        case AnswerSeen():
            if facts.state not in OPEN_STATES:
                return None
            return Change(state=T.DELIVERED, interrupt=facts.state is not T.ANSWERED)


def _stopped(facts: Facts) -> Change | None:
    if not facts.is_question:
        return None
    if facts.state is T.QUEUED:
        return Change(state=T.CANCELLED, interrupt=True)
    if facts.state in (T.RUNNING, T.WAITING):
        # It goes on running until the agent says how far it came: that ends the turn.
        return Change(state=facts.state, owed="cancel")
    return None


def _edited(facts: Facts, edit: QuestionEdited) -> Change | None:
    if not facts.is_question:
        return None  # an edit neither makes nor changes a command
    if facts.state is T.DELIVERED and not edit.again:
        return None
    if facts.state not in OPEN_STATES | {T.DELIVERED}:
        return None
    return Change(
        state=T.QUEUED,
        owed="withdraw" if facts.asked else None,
        text=edit.text,
        void=True,
        interrupt=facts.state in OPEN_STATES,
    )


def _asked_again(facts: Facts, again: AskedAgain) -> Change | None:
    if not facts.is_question or facts.state not in (T.DELIVERED, T.CANCELLED):
        return None
    return Change(
        state=T.QUEUED, owed="withdraw" if facts.asked else None, text=again.text, void=True
    )


def _redacted(facts: Facts) -> Change | None:
    if facts.state is T.WITHDRAWN:
        return None
    return Change(
        state=T.WITHDRAWN,
        owed="withdraw" if facts.asked else None,
        void=True,
        redact=True,
        interrupt=facts.state in OPEN_STATES,
    )


def _answer_redacted(facts: Facts) -> Change:
    if facts.state in OPEN_STATES:
        return Change(
            state=T.CANCELLED,
            owed="cancel" if facts.asked else None,
            void=True,
            redact=True,
            interrupt=True,
        )
    return Change(state=facts.state, redact=True)  # its edits would stay readable


def _left(facts: Facts) -> Change | None:
    if facts.state not in OPEN_STATES:
        return None
    return Change(
        state=T.UNDELIVERABLE,
        owed="cancel" if facts.asked and facts.state is not T.ANSWERED else None,
        void=True,
        interrupt=True,
    )
