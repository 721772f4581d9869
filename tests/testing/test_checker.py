"""The checker of campaigns: a good history passes, and each way to break a promise is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.adapter.matrix.transport.events import Event
from antiphon.agent.store import MIGRATIONS
from antiphon.core.ids import EventId, RoomId, UserId, turn_id
from antiphon.db import Database
from antiphon.testing.checker import KINDS, Asked, Facts, judge
from antiphon.testing.checker_history import messages
from antiphon.testing.checker_record import RunRecord, read_runs

BOT = "@bot:x"
ROOM, OTHER = "!a:x", "!b:x"


class History:
    """A room that is written by hand."""

    def __init__(self, room_id: str, canary: str):
        self.room_id = room_id
        self.canary = canary
        self.events: list[Event] = []
        self.asked: list[Asked] = []
        self.runs: list[RunRecord] = []

    def _event(self, sender: str, content: dict[str, Any], **more: Any) -> str:
        event_id = f"${self.canary}{len(self.events)}"
        at = more.pop("at", 1000 + len(self.events))
        self.events.append(Event(event_id, "m.room.message", sender, content, at, **more))
        return event_id

    def ask(self) -> Asked:
        tag = f"Q-{self.canary}-{len(self.asked) + 1}"
        event_id = self._event("@ada:x", {"msgtype": "m.text", "body": tag})
        self.asked.append(Asked(self.room_id, event_id, tag))
        return self.asked[-1]

    def whole(self, one: Asked) -> str:
        tags = ",".join(a.tag for a in self.asked[: self.asked.index(one) + 1])
        return f"A:{one.tag} seen=1 tags={tags} w0 END:{one.tag}"

    def mark(self, one: Asked, final: bool, part: int = 0, last: bool = True) -> dict[str, Any]:
        turn = turn_id(UserId(BOT), RoomId(self.room_id), EventId(one.event_id))
        state = "final" if final else "partial"
        mark: dict[str, Any] = {"turn": turn, "part": part, "state": state, "revision": 1}
        return mark | ({"last": last} if final else {})

    def open(self, one: Asked, text: str, *, final: bool = False, **mark: Any) -> str:
        relation = {"io.antiphon.answer": self.mark(one, final, **mark)}
        return self._event(BOT, {"msgtype": "m.text", "body": text, "m.relates_to": relation})

    def edit(self, root: str, one: Asked, text: str, *, final: bool = True, **more: Any) -> str:
        new = {"msgtype": "m.text", "body": text}
        relation = {
            "rel_type": "m.replace",
            "event_id": root,
            "io.antiphon.answer": self.mark(one, final),
        }
        content = {"msgtype": "m.text", "body": "* …", "m.new_content": new}
        return self._event(BOT, content | {"m.relates_to": relation}, **more)

    def record(self, one: Asked, text: str = "", **more: Any) -> None:
        fields: dict[str, Any] = {"status": "success", "steps": 1, "attempts": 1} | more
        run = f"{self.mark(one, True)['turn']}.1"
        self.runs.append(RunRecord(f"t-{self.canary}", run, one.tag, text=text, **fields))

    def exchange(self) -> Asked:
        """A question and its answer, as it should be."""
        one = self.ask()
        root = self.open(one, f"A:{one.tag}")
        self.edit(root, one, f"A:{one.tag} seen=1", final=False)
        self.edit(root, one, self.whole(one))
        self.record(one, self.whole(one))
        return one


def facts(*rooms: History, **more: Any) -> Facts:
    runs = tuple(run for room in rooms for run in room.runs)
    fields: dict[str, Any] = {"model_calls": {run.tag: run.steps for run in runs}} | more
    return Facts(
        bot=BOT,
        asked=tuple(one for room in rooms for one in room.asked),
        rooms={room.room_id: tuple(room.events) for room in rooms},
        runs=runs,
        **fields,
    )


def good() -> History:
    room = History(ROOM, "aaaa")
    room.exchange()
    room.exchange()
    return room


def kinds(found: Facts) -> set[str]:
    return {violation.kind for violation in judge(found)}


def test_a_good_history_has_no_violations() -> None:
    other = History(OTHER, "bbbb")
    other.exchange()
    assert judge(facts(good(), other)) == ()


def test_silence_is_seen() -> None:
    room = good()
    room.ask()
    assert kinds(facts(room)) == {"unanswered"}


def test_an_answer_whose_message_was_redacted_is_none() -> None:
    room = good()
    root = next(i for i, e in enumerate(room.events) if e.sender == BOT)
    event = room.events[root]
    room.events[root] = msgspec.structs.replace(event, unsigned={"redacted_because": {}})
    assert kinds(facts(room)) == {"unanswered"}


def test_a_leftover_partial_is_seen() -> None:
    room = good()
    one = room.ask()
    room.open(one, f"A:{one.tag}")
    room.record(one, room.whole(one))
    assert kinds(facts(room)) == {"unfinished"}


def test_a_partial_that_outranks_the_final_is_seen() -> None:
    room = good()
    one = room.exchange()
    root = room.events[-3].event_id
    room.edit(root, one, "A: late", final=False, at=99_999)
    assert kinds(facts(room)) == {"unfinished"}


def test_a_redacted_partial_outranks_nothing() -> None:
    room = good()
    one = room.exchange()
    root = room.events[-3].event_id
    room.edit(root, one, "late", final=False, at=99_999, unsigned={"redacted_because": {}})
    assert kinds(facts(room)) == set()


def test_a_partial_of_the_same_millisecond_wins_by_its_id() -> None:
    room = good()
    one = room.exchange()
    root = room.events[-3].event_id
    room.edit(root, one, "tie", final=False, at=room.events[-1].origin_server_ts)
    winner = max(room.events[-2:], key=lambda event: event.event_id)
    assert messages(room.events)[-1].mark is not None
    assert (kinds(facts(room)) == set()) == (winner is room.events[-2])


def test_a_second_answer_is_seen() -> None:
    room = good()
    one = room.asked[-1]
    room.open(one, room.whole(one), final=True)
    assert kinds(facts(room)) == {"duplicate"}


def test_a_missing_part_is_seen() -> None:
    room = good()
    one = room.ask()
    room.open(one, room.whole(one), final=True, last=False)
    room.record(one, room.whole(one))
    assert kinds(facts(room)) == {"missing_part"}


def test_other_words_than_recorded_are_seen() -> None:
    room = good()
    one = room.ask()
    room.open(one, f"A:{one.tag} w0", final=True)
    room.record(one, room.whole(one))
    assert kinds(facts(room)) == {"different"}


def test_an_error_must_be_told_as_it_was_recorded() -> None:
    room = good()
    one = room.ask()
    room.open(one, "Something else went wrong. (error 123456)", final=True)
    room.record(one, status="error", steps=0, error_code="deadline", error_message="Too long.")
    assert kinds(facts(room)) == {"different"}


def test_answers_in_reverse_are_seen() -> None:
    room = History(ROOM, "aaaa")
    first, second = room.ask(), room.ask()
    for one in (second, first):
        room.open(one, room.whole(one), final=True)
    for one in (first, second):
        room.record(one, room.whole(one))
    assert kinds(facts(room)) == {"order"}


def test_an_answer_that_begins_before_the_last_one_ended_is_seen() -> None:
    room = History(ROOM, "aaaa")
    first, second = room.ask(), room.ask()
    root = room.open(first, "A:")
    room.open(second, room.whole(second), final=True)
    room.edit(root, first, room.whole(first))
    for one in (first, second):
        room.record(one, room.whole(one))
    assert kinds(facts(room)) == {"order"}


def test_a_canary_of_another_chat_is_seen_even_in_a_text_that_was_replaced() -> None:
    room, other = History(ROOM, "aaaa"), History(OTHER, "bbbb")
    foreign = other.exchange()
    one = room.ask()
    root = room.open(one, f"A:{foreign.tag}")
    room.edit(root, one, room.whole(one))
    room.record(one, room.whole(one))
    assert kinds(facts(room, other)) == {"foreign_words"}


@pytest.mark.parametrize("marked", [True, False])
def test_what_nobody_asked_for_is_seen(marked: bool) -> None:
    room = good()
    if marked:
        stray = Asked(ROOM, "$nowhere", "Q-aaaa-9")
        room.open(stray, "Hello", final=True)
    else:
        room._event(BOT, {"msgtype": "m.text", "body": "Hello"})
    assert kinds(facts(room)) == {"unasked"}


def test_an_answer_to_what_was_said_before_the_invite_is_seen() -> None:
    room = History(ROOM, "aaaa")
    one = room.exchange()
    room.asked[0] = msgspec.structs.replace(one, expected="nothing")
    assert kinds(facts(room)) == {"unasked"}


def test_a_question_that_became_two_runs_is_seen() -> None:
    room = good()
    one = room.asked[-1]
    room.runs.append(msgspec.structs.replace(room.runs[-1], run_id="another.1"))
    assert kinds(facts(room, model_calls={one.tag: 1})) == {"asked_twice"}


def test_a_repeated_model_call_is_seen() -> None:
    room = good()
    assert kinds(facts(room, model_calls={room.asked[-1].tag: 2})) == {"model_again"}


def test_a_killed_attempt_may_have_called_the_model_once_more() -> None:
    room = good()
    room.runs[-1] = msgspec.structs.replace(room.runs[-1], attempts=2)
    assert kinds(facts(room, model_calls={room.asked[-1].tag: 2})) == set()


def test_an_answer_without_a_record_is_seen() -> None:
    room = good()
    room.runs.pop()
    assert kinds(facts(room)) == {"no_record"}


def test_a_memory_that_misses_an_exchange_is_seen() -> None:
    room = good()
    one = room.ask()
    text = f"A:{one.tag} seen=1 tags={one.tag} w0 END:{one.tag}"
    room.open(one, text, final=True)
    room.record(one, text)
    assert kinds(facts(room)) == {"memory"}


@pytest.mark.parametrize(
    ("begun", "recorded", "fine"),
    [
        (None, None, True),
        (None, "", True),
        (None, "A: w0", False),
        ("A: w0\n\n*(stopped)*", "A: w0", True),
        ("A: w0", "A: w0", False),
    ],
)
def test_a_stopped_answer_may_be_silent_only_if_nothing_was_said(
    begun: str | None, recorded: str | None, fine: bool
) -> None:
    room = good()
    one = room.ask()
    room.asked[-1] = msgspec.structs.replace(one, expected="stoppable")
    if begun is not None:
        room.open(one, begun, final=True)
    if recorded is not None:
        room.record(one, recorded, status="cancelled", steps=1 if recorded else 0)
    assert (kinds(facts(room)) == set()) == fine


@pytest.mark.parametrize("left", ["message", "edit", "record", None])
def test_what_is_left_of_a_redacted_exchange_is_seen(left: str | None) -> None:
    room = good()
    one = room.exchange()
    room.asked[-1] = msgspec.structs.replace(one, expected="withdrawn")
    if left != "record":
        room.runs[-1] = msgspec.structs.replace(room.runs[-1], status="withdrawn", tag="", text="")
    kept = {"message": room.events[-3:-2], "edit": room.events[-1:]}.get(left or "", [])
    room.events = [
        msgspec.structs.replace(e, content={}, unsigned={"redacted_because": {}})
        if e.sender == BOT and e in room.events[-3:] and e not in kept
        else e
        for e in room.events
    ]
    assert kinds(facts(room)) == ({"kept"} if left else set())


def edited(room: History, *, late: bool) -> Asked:
    """A question that was edited before (or after) its old text was answered, and is so still."""
    one = room.ask()
    if late:
        room.open(one, room.whole(one), final=True)
    new = msgspec.structs.replace(one, tag="Q-aaaa-9", older=(one.tag,), edit="$edit")
    room.events.append(Event("$edit", "m.room.message", "@ada:x", {"body": "* 9"}, 2000))
    if not late:
        room.open(one, room.whole(one), final=True)
    room.record(one, room.whole(one))
    room.asked[-1] = new
    return new


def test_an_answer_to_the_text_before_the_edit_is_seen() -> None:
    room = good()
    new = edited(room, late=False)
    room.record(new, f"A:{new.tag} w0 END:{new.tag}")
    assert kinds(facts(room)) == {"different"}


def test_an_answer_that_was_whole_before_the_edit_may_stay() -> None:
    room = good()
    edited(room, late=True)
    assert kinds(facts(room)) == set()


def test_every_kind_of_the_rooms_and_the_record_is_caught_by_a_test_here() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    of_the_runner = {"process", "campaign", "zombie", "untold"}
    tests += (Path(__file__).parent / "test_checker_sealed.py").read_text(encoding="utf-8")
    assert all(f'"{kind}"' in tests for kind in set(KINDS) - of_the_runner)


@pytest.mark.parametrize("content", [{"m.relates_to": 1}, {"body": 3}, {"m.relates_to": {"x": []}}])
def test_what_is_malformed_is_read_as_nothing(content: dict[str, Any]) -> None:
    shown = messages([Event("$1", "m.room.message", BOT, content, 0)])
    assert [m.mark for m in shown] == [None]


async def test_the_record_is_read_from_the_agents_own_tables(tmp_path: Path) -> None:
    """The checker's plain SQL fits the schema that the agent has now."""
    path = tmp_path / "agent.db"
    assert read_runs(path) == ()
    database = await Database.open(f"sqlite:///{path}", MIGRATIONS)
    await database.close()
    assert read_runs(path) == ()
