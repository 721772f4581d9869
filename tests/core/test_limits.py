"""Limits of people and rooms, what is said when they are reached, and fairness between people."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.ids import RoomId, UserId
from antiphon.core.limits import (
    DAY_MS,
    Counts,
    Limits,
    TooMuch,
    Turnstile,
    Waiting,
    day_start_ms,
    in_words,
    judge,
    next_of,
    person_limits,
    room_limits,
)
from antiphon.core.rules import Rules, SetValue
from antiphon.core.scopes import Scope

NOW = 1_700_000_000_000
FREE = (Limits(), Counts())
ADA, BOB = UserId("@ada:x"), UserId("@bob:x")


def of_person(limits: Limits, counts: Counts, now: int = NOW) -> TooMuch | None:
    return judge(now, (limits, counts), FREE)


def test_there_is_no_limit_until_one_is_set() -> None:
    much = Counts(tuple(range(NOW - 500, NOW)), 10_000, 10**9)
    assert judge(NOW, (Limits(), much), (Limits(), much)) is None
    assert Limits().none
    assert not Limits(queued_turns=1).none


def test_turns_a_minute_slide_and_the_end_is_told() -> None:
    limits = Limits(turns_per_minute=2)
    at = (NOW - 59_000, NOW - 10_000)
    assert of_person(limits, Counts(at[:1])) is None
    over = of_person(limits, Counts(at))
    assert over is not None
    assert (over.whose, over.limit, over.until_ms) == ("user", "turns_per_minute", NOW + 1_000)
    assert "2 questions in a minute" in over.sentence
    assert "in 1 second" in over.sentence
    assert of_person(limits, Counts(at), NOW + 999) is not None
    assert of_person(limits, Counts(at), NOW + 1_000) is None, "the oldest has left the minute"


def test_a_lowered_limit_waits_for_enough_to_leave() -> None:
    over = of_person(Limits(turns_per_minute=1), Counts((NOW - 50_000, NOW - 20_000, NOW - 40_000)))
    assert over is not None
    assert over.until_ms == NOW + 40_000


def test_tokens_count_until_midnight_utc() -> None:
    limits = Limits(tokens_per_day=1000)
    assert of_person(limits, Counts(tokens_today=999)) is None
    over = of_person(limits, Counts(tokens_today=1000))
    assert over is not None
    assert over.until_ms == day_start_ms(NOW) + DAY_MS
    assert over.until_ms % DAY_MS == 0
    assert "1,000 tokens" in over.sentence
    assert in_words(over.until_ms - NOW) in over.sentence


def test_questions_that_wait_are_limited() -> None:
    limits = Limits(queued_turns=3)
    assert of_person(limits, Counts(queued=2)) is None
    over = of_person(limits, Counts(queued=3))
    assert over is not None
    assert over.until_ms is None
    assert "3 questions of yours are waiting" in over.sentence


def test_a_room_has_limits_of_its_own_and_is_named() -> None:
    over = judge(NOW, FREE, (Limits(turns_per_minute=1), Counts((NOW,))))
    assert over is not None
    assert over.whose == "room"
    assert over.sentence.startswith("This room may ask 1 question in a minute")


def test_of_several_the_one_that_lasts_longest_is_told() -> None:
    person = (Limits(turns_per_minute=1, queued_turns=1), Counts((NOW,), queued=1))
    room = (Limits(tokens_per_day=5), Counts(tokens_today=5))
    over = judge(NOW, person, room)
    assert over is not None
    assert (over.whose, over.limit) == ("room", "tokens_per_day")


def test_a_flood_has_one_note_a_minute_or_a_day() -> None:
    keys = set()
    for ms in range(0, 30_000, 1_000):
        over = of_person(Limits(turns_per_minute=1), Counts((NOW,)), day_start_ms(NOW) + ms)
        assert over is not None
        keys.add(over.note_key)
    assert len(keys) == 1


def test_a_person_has_the_nearest_limit_and_a_room_only_its_own() -> None:
    rules = Rules(
        version="1",
        base={"queued_turns": 9},
        settings=(
            SetValue(Scope("platform"), "turns_per_minute", 10),
            SetValue(Scope("surface", "matrix"), "tokens_per_day", 100),
            SetValue(Scope("user", "matrix", ADA), "turns_per_minute", 3),
            SetValue(Scope("room", "matrix", "!r:x"), "turns_per_minute", 50),
            SetValue(Scope("user", "matrix", ADA), "tokens_per_day", -5),  # no longer allowed
        ),
    )
    assert person_limits(rules, "matrix", ADA) == Limits(3, 9, 100)
    assert person_limits(rules, "matrix", BOB) == Limits(10, 9, 100)
    assert person_limits(rules, "terminal", ADA) == Limits(10, 9, None)
    assert room_limits(rules, "matrix", RoomId("!r:x")) == Limits(turns_per_minute=50)
    assert room_limits(rules, "matrix", RoomId("!other:x")).none


def test_spans_are_said_in_words() -> None:
    said = [in_words(ms) for ms in (1, 1_000, 1_001, 119_000, 120_000, 7_200_000, 11_520_001)]
    assert said == [
        "1 second",
        "1 second",
        "2 seconds",
        "119 seconds",
        "2 minutes",
        "2 h 0 min",
        "3 h 13 min",
    ]


# --- fairness -------------------------------------------------------------------------------------


def test_nobody_goes_where_all_places_are_taken() -> None:
    waiting = [Waiting("a", ADA, 1)]
    assert next_of(waiting, {BOB: 2}, {}, 2) is None
    assert next_of(waiting, {BOB: 1}, {}, 2) == waiting[0]
    assert next_of([], {}, {}, 2) is None


def test_who_asks_in_a_hundred_rooms_does_not_delay_who_asks_in_one() -> None:
    stile = Turnstile(2)
    for n in range(100):
        stile.wait(f"ada{n}", ADA)
    assert stile.admit() == ("ada0", "ada1")
    stile.wait("bob", BOB)
    assert stile.admit() == ()
    stile.done("ada0")
    assert stile.admit() == ("bob",)
    stile.done("bob")
    assert stile.admit() == ("ada2",)


def test_people_take_turns() -> None:
    stile = Turnstile(1)
    people = [UserId(f"@p{n}:x") for n in range(3)]
    for n in range(12):
        stile.wait(f"lane{n}", people[n % 3 if n > 5 else 0])
    order = []
    while stile.busy:
        (lane,) = stile.admit()
        order.append(lane)
        stile.done(lane)
    whose = [people[n % 3 if n > 5 else 0] for n in (int(lane[4:]) for lane in order)]
    assert Counter(whose[:6]) == Counter(dict.fromkeys(people, 2))


def test_a_lane_keeps_its_place_and_may_leave_it() -> None:
    stile = Turnstile(1)
    stile.wait("a", ADA)
    stile.wait("b", BOB)
    stile.wait("a", ADA)
    stile.leave("b")
    assert stile.admit() == ("a",)
    stile.done("a")
    stile.done("a")
    assert stile.admit() == ()


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=60),
    st.integers(1, 4),
)
def test_every_lane_goes_once_and_never_more_than_may(
    lanes: list[tuple[int, int]], most: int
) -> None:
    stile = Turnstile(most)
    owners = {f"lane{lane}": UserId(f"@p{person}:x") for lane, person in lanes}
    for lane, person in owners.items():
        stile.wait(lane, person)
    running: list[str] = []
    seen: list[str] = []
    while stile.busy or running:
        running += stile.admit()
        assert 0 < len(running) <= most
        seen.append(running.pop(0))
        stile.done(seen[-1])
    assert sorted(seen) == sorted(owners)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("wait", "leave", "done", "admit")),
            st.integers(0, 6),
            st.integers(0, 2),
        ),
        max_size=80,
    ),
    st.integers(1, 3),
)
def test_the_turnstile_chooses_as_the_rule_says(
    events: list[tuple[str, int, int]], most: int
) -> None:
    """Against the rule itself, with counts of our own."""
    stile, tick = Turnstile(most), 0
    waiting: dict[str, Waiting] = {}
    running: dict[str, UserId] = {}
    served: dict[UserId, int] = {}
    for kind, number, person in events:
        lane, user = f"lane{number}", UserId(f"@p{person}:x")
        if kind == "wait" and lane not in running:
            stile.wait(lane, user)
            if lane not in waiting or waiting[lane].user != user:
                tick += 1
                waiting[lane] = Waiting(lane, user, tick)
        elif kind == "leave":
            stile.leave(lane)
            waiting.pop(lane, None)
        elif kind == "done":
            stile.done(lane)
            if running.pop(lane, None) and not running and not waiting:
                served.clear()
        elif kind == "admit":
            expected = []
            while chosen := next_of(waiting.values(), Counter(running.values()), served, most):
                tick += 1
                del waiting[chosen.lane]
                running[chosen.lane] = chosen.user
                served[chosen.user] = tick
                expected.append(chosen.lane)
            assert stile.admit() == tuple(expected)
        assert stile.busy is bool(waiting)


def test_many_who_wait_cost_little() -> None:
    """Ten thousand people and lanes: a step for each, not a look at all of them for each."""
    stile = Turnstile(1)
    for n in range(10_000):
        stile.wait(f"lane{n}", UserId(f"@p{n}:x"))
    order: list[str] = []
    while stile.busy:
        order += stile.admit()
        stile.done(order[-1])
    assert order == [f"lane{n}" for n in range(10_000)]
