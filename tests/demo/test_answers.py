"""Folding the bot's events into answers."""

from __future__ import annotations

from typing import Any

from antiphon.adapter.matrix.contents import Address, edit, message, opening
from antiphon.adapter.matrix.marks import Mark
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, TurnId
from antiphon.demo.answers import Answer, Answers, remark

BOT = "@bot:x"
TURN = TurnId("tabc")
ADDRESS = Address(EventId("$question"))


def event(event_id: str, content: dict[str, Any], ts: int = 1, sender: str = BOT) -> Event:
    return Event(event_id, "m.room.message", sender, content, ts)


def mark(part: int = 0, *, final: bool = False, last: bool = False) -> Mark:
    return Mark(TURN, part, final=final, last=last)


def fed(*events: Event) -> Answers:
    answers = Answers(BOT)
    for one in events:
        answers.feed(one)
    return answers


def test_an_answer_sent_whole_is_whole_at_once() -> None:
    answers = fed(event("$1", opening("Hi.", ADDRESS, mark(final=True, last=True))))
    assert answers.of(TURN) == Answer("Hi.", whole=True, notice=False)


def test_an_answer_grows_by_edits_until_its_final() -> None:
    answers = fed(event("$1", opening("One", ADDRESS, mark())))
    assert answers.of(TURN) == Answer("One", whole=False, notice=False)
    answers.feed(event("$2", edit("One two", EventId("$1"), mark()), 2))
    assert answers.of(TURN) == Answer("One two", whole=False, notice=False)
    final = edit("One two three", EventId("$1"), mark(final=True, last=True))
    answers.feed(event("$3", final, 3))
    assert answers.of(TURN) == Answer("One two three", whole=True, notice=False)


def test_a_long_answer_is_whole_when_its_last_part_is() -> None:
    answers = fed(
        event("$1", opening("First", ADDRESS, mark(0))),
        event("$2", opening("Second", ADDRESS, mark(1)), 2),
        event("$3", edit("First.", EventId("$1"), mark(0, final=True)), 3),
    )
    assert answers.of(TURN) == Answer("First.\n\nSecond", whole=False, notice=False)
    answers.feed(event("$4", edit("Second.", EventId("$2"), mark(1, final=True, last=True)), 4))
    assert answers.of(TURN) == Answer("First.\n\nSecond.", whole=True, notice=False)


def test_a_late_partial_changes_nothing() -> None:
    answers = fed(
        event("$1", opening("a", ADDRESS, mark())),
        event("$3", edit("abc", EventId("$1"), mark(final=True, last=True)), 3),
        event("$2", edit("ab", EventId("$1"), mark()), 2),
        event("$4", edit("ab", EventId("$1"), mark()), 4),
    )
    assert answers.of(TURN) == Answer("abc", whole=True, notice=False)


def test_an_event_delivered_twice_changes_nothing() -> None:
    root = event("$1", opening("a", ADDRESS, mark()))
    more = event("$2", edit("ab", EventId("$1"), mark()), 2)
    assert fed(root, more, root, more).of(TURN) == Answer("ab", whole=False, notice=False)


def test_nobody_else_can_put_words_into_the_answer() -> None:
    forged = opening("Forged", ADDRESS, mark(final=True, last=True))
    assert fed(event("$1", forged, sender="@eve:x")).of(TURN) is None
    answers = fed(event("$1", opening("True", ADDRESS, mark())))
    answers.feed(event("$2", edit("Forged", EventId("$1"), mark()), 2, sender="@eve:x"))
    assert answers.of(TURN) == Answer("True", whole=False, notice=False)


def test_a_redacted_part_is_gone() -> None:
    answers = fed(
        event("$1", opening("One.", ADDRESS, mark(0, final=True, last=True))),
        event("$2", opening("Surplus", ADDRESS, mark(1)), 2),
        Event("$3", "m.room.redaction", BOT, {"redacts": "$2"}, 3),
    )
    assert answers.of(TURN) == Answer("One.", whole=True, notice=False)


def test_broken_marks_are_passed_over() -> None:
    for relation in ("x", {}, {"io.antiphon.answer": 1}, {"io.antiphon.answer": {"turn": TURN}}):
        answers = fed(event("$1", {"msgtype": "m.text", "body": "b", "m.relates_to": relation}))
        assert answers.of(TURN) is None


def test_an_error_is_a_notice() -> None:
    content = opening("No model.", ADDRESS, mark(final=True, last=True), notice=True)
    assert fed(event("$1", content)).of(TURN) == Answer("No model.", whole=True, notice=True)


def test_what_the_bot_says_outside_of_answers_is_a_remark() -> None:
    assert remark(event("$1", message("I can't read here.", notice=True)), BOT)
    assert remark(event("$1", message("Hello", notice=True), sender="@eve:x"), BOT) is None
    assert remark(event("$1", opening("Hi.", ADDRESS, mark())), BOT) is None
