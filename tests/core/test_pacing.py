"""Pacing of one answer, and the process-wide budget against a model of Synapse's rate limit."""

import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.pacing import Budget, EditPacer, EditState, SendClass

FINAL, FIRST, NOTICE, PARTIAL = (
    SendClass.FINAL,
    SendClass.FIRST,
    SendClass.NOTICE,
    SendClass.PARTIAL,
)


# --- one answer -----------------------------------------------------------------------------------


def test_first_words_go_at_once_and_blank_ones_not_at_all() -> None:
    pacer = EditPacer(1.0, 15)
    assert pacer.due(7.0, "Paris", EditState()) == 0.0
    assert pacer.due(7.0, "", EditState()) is None
    assert pacer.due(7.0, " \n", EditState()) is None


def test_what_is_shown_already_is_not_sent_again() -> None:
    pacer = EditPacer(1.0, 15)
    state = pacer.sent(0.0, "Paris", EditState())
    assert pacer.due(100.0, "Paris", state) is None
    assert pacer.due(100.0, "Paris is", state) == 0.0


def test_edits_begin_about_one_a_second_with_a_growing_gap() -> None:
    gaps = EditPacer(1.0, 15).gaps
    assert gaps[0] == 1.0
    assert sum(gaps[:4]) < 8
    assert all(later > earlier for earlier, later in itertools.pairwise(gaps))


def test_the_gap_counts_from_the_end_of_the_last_send() -> None:
    pacer = EditPacer(1.0, 15)
    state = pacer.sent(2.0, "a", EditState())
    assert pacer.due(2.25, "ab", state) == pytest.approx(0.75)
    state = pacer.sent(10.0, "ab", state)
    assert pacer.due(10.0, "abc", state) == pytest.approx(pacer.gaps[1])


def test_a_ten_minute_answer_has_edits_to_its_end_and_no_more_than_allowed() -> None:
    pacer, state, now, sent = EditPacer(1.0, 15), EditState(), 0.0, []
    while now < 620:
        if pacer.due(now, f"text {now}", state) == 0.0:
            state = pacer.sent(now, f"text {now}", state)
            sent.append(now)
        now += 0.05
    assert len(sent) == 1 + 15
    assert sent[-1] > 580


@given(st.floats(0.01, 60), st.integers(0, 50), st.floats(1, 3600))
def test_any_settings_give_gaps_of_at_least_the_interval(
    interval: float, count: int, spread: float
) -> None:
    gaps = EditPacer(interval, count, spread).gaps
    assert len(gaps) == count
    assert all(gap >= interval * 0.999 for gap in gaps)
    if interval * count <= spread <= sum(interval * 4**index for index in range(count)):
        assert sum(gaps) == pytest.approx(spread, rel=0.01)


def test_without_edits_only_the_first_words_are_shown() -> None:
    pacer = EditPacer(1.0, 0)
    assert pacer.due(0.0, "a", EditState()) == 0.0
    assert pacer.due(99.0, "ab", pacer.sent(0.0, "a", EditState())) is None


# --- the budget -----------------------------------------------------------------------------------


class Synapse:
    """`rc_message` as Synapse counts it: a bucket that leaks `rate` a second and holds `burst`."""

    def __init__(self, rate: float = 0.2, burst: int = 10):
        self.rate, self.burst = rate, burst
        self.level, self.at = 0.0, 0.0

    def send(self, now: float) -> int | None:
        """None when it was taken, else `retry_after_ms`."""
        self.level = max(0.0, self.level - (now - self.at) * self.rate)
        self.at = now
        if self.level + 1 > self.burst:
            return int(1000 * (self.level + 1 - self.burst) / self.rate)
        self.level += 1
        return None


class Simulation:
    """Answers that are sent through one budget to one homeserver; virtual time."""

    def __init__(self, server: Synapse, budget: Budget, latency: float = 0.03):
        self.server, self.budget, self.latency = server, budget, latency
        self.queue: list[tuple[float, int, SendClass]] = []
        self.order = itertools.count()
        self.taken: list[tuple[float, SendClass]] = []
        self.refused: list[tuple[float, SendClass]] = []
        self.scarce_partials = 0

    def at(self, when: float, kind: SendClass) -> None:
        heapq.heappush(self.queue, (when, next(self.order), kind))

    def run(self) -> None:
        """A partial that may not go is dropped, everything else waits."""
        while self.queue:
            now, number, kind = heapq.heappop(self.queue)
            if not self.budget.may_send(kind, now):
                if kind is not PARTIAL:
                    wait = max(self.budget.wait(kind, now), 0.001)
                    heapq.heappush(self.queue, (now + wait, number, kind))
                continue
            self.scarce_partials += kind is PARTIAL and self.budget.scarce
            self.budget.started(kind, now)
            retry_after_ms = self.server.send(now)
            if retry_after_ms is None:
                self.budget.succeeded(kind, now)
                self.taken.append((now, kind))
            else:
                self.budget.limited(kind, now, retry_after_ms)
                self.refused.append((now, kind))
                if kind is not PARTIAL:
                    heapq.heappush(self.queue, (now + retry_after_ms / 1000, number, kind))

    def last(self, kind: SendClass) -> float:
        return max(now for now, sent in self.taken if sent is kind)


def test_without_a_limit_everything_goes_at_once() -> None:
    budget = Budget()
    for kind in SendClass:
        assert budget.may_send(kind, 0.0)
    assert not budget.scarce


def test_a_429_is_obeyed_to_the_millisecond() -> None:
    budget = Budget()
    budget.started(FINAL, 10.0)
    budget.limited(FINAL, 10.0, 4500)
    assert budget.scarce
    assert not budget.may_send(FINAL, 14.5)
    assert budget.wait(FINAL, 10.0) == pytest.approx(4.55)
    assert budget.may_send(FINAL, 14.6)


def test_when_scarce_finals_go_before_firsts_before_notices_before_partials() -> None:
    budget = Budget()
    budget.limited(FINAL, 0.0, 1000)
    waits = [budget.wait(kind, 0.0) for kind in (FINAL, FIRST, NOTICE, PARTIAL)]
    assert waits == sorted(waits)
    assert len(set(waits)) == 4


def test_fifteen_finals_pass_synapses_default_limit_in_the_best_possible_time() -> None:
    """Ten at once, then one per 5 s: 25 s is the best there is."""
    sim = Simulation(Synapse(), Budget())
    for _ in range(15):
        sim.at(0.0, FINAL)
    sim.run()
    assert len(sim.taken) == 15
    assert sim.last(FINAL) < 25 + 1
    assert len(sim.refused) <= 2


def test_fifteen_whole_answers_on_a_limit_that_is_known_send_finals_alone() -> None:
    """All are finished 20 s after their start: then ten go at once and the last 25 s later."""
    sim = Simulation(Synapse(), Budget(gap_s=5.0))
    sim.budget.owed = 15
    sim.at(990.0, FINAL)
    for answer in range(15):
        start = 1000 + answer * 0.01
        sim.at(start, FIRST)
        for edit in range(1, 15):
            sim.at(start + edit, PARTIAL)
        sim.at(start + 20, FINAL)
    sim.run()
    finals = [now for now, kind in sim.taken if kind is FINAL]
    assert len(finals) == 1 + 15
    assert max(finals) <= 1020 + 25 + 2 * 5  # eight at once: it saves up less than Synapse does
    assert all(now > max(finals) for now, kind in sim.taken if kind is not FINAL)


def test_one_answer_on_a_limit_that_is_known_shows_its_first_words() -> None:
    sim = Simulation(Synapse(), Budget(gap_s=5.0))
    sim.budget.owed = 1
    sim.at(1000.0, FIRST)
    sim.at(1001.0, PARTIAL)
    sim.at(1002.0, FINAL)
    sim.run()
    assert [kind for _, kind in sim.taken] == [FIRST, PARTIAL, FINAL]


def test_on_a_limit_met_unawares_partials_stop_at_the_first_429_and_finals_follow_at_the_rate() -> (
    None
):
    sim = Simulation(Synapse(), Budget())
    for answer in range(15):
        sim.at(answer * 0.01, FIRST)
        for edit in range(1, 8):
            sim.at(answer * 0.01 + edit, PARTIAL)
        sim.at(answer * 0.01 + 8, FINAL)
    sim.run()
    assert sim.scarce_partials == 0
    assert not any(kind is PARTIAL for _, kind in sim.taken)
    finals = [now for now, kind in sim.taken if kind is FINAL]
    assert len(finals) == 15
    # The bucket was full at 0 s and the first answers are due at 8 s: one final per 5 s from then.
    assert max(finals) <= 8 + 15 * 5 + 2
    assert len(sim.refused) <= 15 / 5 + 3


def test_a_limit_that_was_lifted_is_found_out_by_probing() -> None:
    budget = Budget(gap_s=5.0)
    sim = Simulation(Synapse(rate=1000, burst=1000), budget)
    for number in range(60):
        sim.at(float(number), FINAL)
    sim.run()
    assert not budget.scarce
    assert budget.may_send(PARTIAL, 100.0)


def test_a_limit_that_stays_costs_one_refused_request_in_six_at_most() -> None:
    sim = Simulation(Synapse(burst=1), Budget())
    for _ in range(100):
        sim.at(0.0, FINAL)
    sim.run()
    assert sim.last(FINAL) < 99 * 5 * 1.03
    assert len(sim.refused) <= 100 / 5 + 1


def test_quiet_time_brings_first_words_and_partials_back() -> None:
    budget = Budget()
    budget.limited(FINAL, 0.0, 5000)
    assert not budget.may_send(PARTIAL, 20.0)
    assert budget.may_send(FIRST, 20.0)
    assert budget.may_send(PARTIAL, 60.0)


def test_a_slow_homeserver_sheds_partials_and_nothing_else() -> None:
    budget = Budget()
    for _ in range(4):
        assert budget.may_send(PARTIAL, 0.0)
        budget.started(PARTIAL, 0.0)
    assert not budget.may_send(PARTIAL, 1.0)
    assert budget.may_send(FINAL, 1.0)
    assert budget.may_send(FIRST, 1.0)
    budget.failed(PARTIAL, 2.0)
    assert budget.may_send(PARTIAL, 2.0)


def test_what_was_learned_can_be_kept_over_a_restart() -> None:
    budget = Budget()
    for _ in range(10):
        budget.started(FINAL, 0.0)
        budget.succeeded(FINAL, 0.1)
    budget.started(FINAL, 0.1)
    budget.limited(FINAL, 0.1, 4900)
    assert budget.gap_s == pytest.approx(5.0, abs=0.1)
    assert Budget(gap_s=budget.gap_s).scarce


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(SendClass)),
            st.floats(0, 100),
            st.one_of(st.none(), st.integers(-10, 10_000_000)),
        ),
        max_size=50,
    )
)
def test_a_final_is_always_allowed_after_its_wait(
    sends: list[tuple[SendClass, float, int | None]],
) -> None:
    """Whatever was refused before: nothing is stuck for ever."""
    budget, now = Budget(), 0.0
    for kind, pause, retry_after_ms in sends:
        now += pause
        budget.started(kind, now)
        if retry_after_ms is None:
            budget.succeeded(kind, now)
        else:
            budget.limited(kind, now, retry_after_ms)
    for kind in SendClass:
        assert budget.may_send(kind, now + budget.wait(kind, now) + 0.001)
