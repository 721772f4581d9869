"""Crash points: what a process does when it comes to one, and which there are."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.crash import VARIABLE, CrashPlan
from antiphon.testing.campaign_docs import PAGE, points_table
from antiphon.testing.campaign_plan import plan
from antiphon.testing.crash_points import crash_points

PROGRAM = """
from antiphon.crash import crash_point
for number in range(3):
    crash_point("here")
    print(number, flush=True)
    crash_point("there")
"""


def run(order: str | None) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={} if order is None else {VARIABLE: order},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("order", "code", "printed"),
    [
        (None, 0, 3),
        ("", 0, 3),
        ("elsewhere", 0, 3),
        ("here", -signal.SIGKILL, 0),
        ("here@3", -signal.SIGKILL, 2),
        ("here@4", 0, 3),
        ("here@3, there@2", -signal.SIGKILL, 2),
    ],
)
def test_a_process_dies_at_the_ordered_visit_of_a_point(
    order: str | None, code: int, printed: int
) -> None:
    assert run(order) == (code, [str(number) for number in range(printed)])


def test_visits_are_counted_for_each_point_by_itself() -> None:
    deaths: list[int] = []
    order = CrashPlan("a@2,b", lambda: deaths.append(1))
    order.visit("a")
    order.visit("c")
    assert not deaths
    order.visit("b")
    order.visit("a")
    assert len(deaths) == 2


def test_a_point_that_is_no_literal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("crash_point(name)\n")
    with pytest.raises(ValueError, match=r"bad\.py:1"):
        crash_points(tmp_path)


def test_the_points_cover_both_processes_and_no_name_is_used_twice_by_accident() -> None:
    points = crash_points()
    assert {name for point in points for name in point.processes} == {"adapter", "agent"}
    assert len(points) > 40
    assert [point.name for point in points if len(point.modules) > 1] == []


def test_the_page_lists_exactly_the_points_that_there_are() -> None:
    """A point that is dropped by a rewrite is missed here; `make crash-docs` writes the page."""
    page = PAGE.read_text(encoding="utf-8")
    listed = page.partition("<!-- points: generated -->")[2].partition("<!-- points: end")[0]
    rows = [line.split("|")[1:3] for line in listed.splitlines() if line.startswith("| `")]
    wanted = [line.split("|")[1:3] for line in points_table(crash_points()).splitlines()[2:]]
    assert rows == wanted


def test_a_campaign_comes_to_every_point_in_turn() -> None:
    """As many trials of the kind `encrypted_kill` as there are points, and each is somebody's
    target; those of encryption before all others. In plain rooms, each of the others is."""
    points = crash_points()
    every = {f"{process}:{point.name}" for point in points for process in point.processes}
    sealed = {f"adapter:{point.name}" for point in points if point.encrypted}
    assert len(sealed) > 10

    def targets(kind: str, count: int) -> set[str]:
        found = [plan(7, number, points, (kind,)).first for number in range(count)]
        return {f"{one.process}:{one.text.partition('@')[0]}" for one in found if one is not None}

    assert targets("encrypted_kill", len(every)) == every
    assert targets("encrypted_kill", len(sealed)) == sealed
    assert targets("kill", len(every - sealed)) == every - sealed


def test_a_plan_is_the_same_for_the_same_seed_and_number() -> None:
    points = crash_points()
    assert [plan(3, n, points) for n in range(30)] == [plan(3, n, points) for n in range(30)]
    assert [plan(3, n, points) for n in range(30)] != [plan(4, n, points) for n in range(30)]
