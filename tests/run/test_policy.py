"""What follows the end of a child."""

from __future__ import annotations

from antiphon.run.policy import Backoff, GiveUp, Restart, after_exit

BACKOFF = Backoff()


def delays(exit_code: int, count: int) -> list[float]:
    found, failures = [], 0
    for _ in range(count):
        decision = after_exit(exit_code, 0.5, failures, BACKOFF)
        assert isinstance(decision, Restart)
        found.append(decision.delay_s)
        failures = decision.failures
    return found


def test_a_child_that_keeps_dying_waits_longer_each_time_up_to_thirty_seconds() -> None:
    assert delays(1, 7) == [1, 2, 4, 8, 16, 30, 30]


def test_a_child_killed_by_a_signal_is_started_again() -> None:
    assert after_exit(-9, 0.5, 0, BACKOFF) == Restart(1, 1)


def test_an_end_that_nobody_asked_for_is_a_death_even_with_exit_code_0() -> None:
    assert after_exit(0, 0.5, 2, BACKOFF) == Restart(4, 3)


def test_a_minute_of_health_makes_the_next_death_the_first_again() -> None:
    assert after_exit(1, 60.0, 9, BACKOFF) == Restart(1, 1)


def test_wrong_settings_are_not_tried_again() -> None:
    assert after_exit(2, 500.0, 0, BACKOFF) == GiveUp(2)


def test_a_child_that_died_for_a_year_still_gets_a_number() -> None:
    assert after_exit(1, 0.1, 10**9, BACKOFF) == Restart(30, 10**9 + 1)


def test_what_was_never_ready_gets_only_the_tries_that_it_has() -> None:
    few = Backoff(first_tries=3)
    assert after_exit(1, 0.5, 1, few, was_ready=False) == Restart(2, 2)
    assert after_exit(1, 0.5, 2, few, was_ready=False) == GiveUp(1)
    assert after_exit(1, 0.5, 2, few, was_ready=True) == Restart(4, 3)
    assert after_exit(1, 0.5, 99, BACKOFF, was_ready=False) == Restart(30, 100)
