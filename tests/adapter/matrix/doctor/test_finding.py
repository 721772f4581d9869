"""Findings, their exit code, and the lines that people see."""

from __future__ import annotations

import json

import pytest

from antiphon.adapter.matrix.doctor.finding import (
    TITLES,
    Diagnosis,
    Finding,
    failure,
    ok,
    warning,
)
from antiphon.adapter.matrix.doctor.lines import lines, summary

FINE = ok("disk", "much room")
ODD = warning("clock", "it is late", "Set the clock.")
BAD = failure("agent", "it is away", "Start it.")


@pytest.mark.parametrize(
    ("findings", "worst", "code"),
    [
        ((), "ok", 0),
        ((FINE,), "ok", 0),
        ((FINE, ODD), "warning", 1),
        ((BAD, ODD, FINE), "failure", 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst(
    findings: tuple[Finding, ...], worst: str, code: int
) -> None:
    diagnosis = Diagnosis(findings)
    assert (diagnosis.worst, diagnosis.exit_code) == (worst, code)


def test_json_has_what_programs_are_promised() -> None:
    found = json.loads(Diagnosis((FINE, BAD)).as_json("1.2.3"))
    assert found == {
        "version": "1.2.3",
        "worst": "failure",
        "findings": [
            {
                "id": "disk",
                "level": "ok",
                "title": "Disk space",
                "detail": "Much room.",
                "todo": "",
            },
            {
                "id": "agent",
                "level": "failure",
                "title": "Agent",
                "detail": "It is away.",
                "todo": "Start it.",
            },
        ],
    }


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("much room", "Much room."),
        ("/a/b is open", "/a/b is open."),
        ("@bot:x works", "@bot:x works."),
        ("http://x answers", "http://x answers."),
        ("Two\nlines!", "Two lines!"),
    ],
)
def test_a_detail_is_one_line_and_a_sentence_that_keeps_names(said: str, shown: str) -> None:
    assert ok("disk", said).detail == shown


def test_lines_are_aligned_and_wrapped() -> None:
    wide = warning("allow", "one two three four five six", "Do this and then do that also.")
    shown = lines(wide, 50)
    assert shown[0].startswith("warning  Who may talk  One two")
    assert all(len(line) <= 53 for line in shown)
    assert {line[: len("warning  Who may talk  ")].strip() for line in shown[1:]} == {""}
    assert "-> Do this" in "\n".join(shown)
    starts = {lines(Finding(i, "ok", TITLES[i], "x."), None)[0].index("x.") for i in TITLES}
    assert len(starts) == 1


def test_what_can_not_be_broken_stays_whole_and_without_a_terminal_nothing_is_wrapped() -> None:
    command = f"curl {'x' * 100}"
    assert any("x" * 100 in line for line in lines(warning("limits", "slow", command), 60))
    assert len(lines(warning("limits", "word " * 60, "word " * 60), None)) == 2


def test_what_is_short_stands_on_one_line() -> None:
    assert lines(ODD, 80) == ["warning  Clock         It is late. -> Set the clock."]


def test_the_summary_counts() -> None:
    assert summary(Diagnosis((FINE,))) == "All 1 checks are ok."
    assert summary(Diagnosis((FINE, ODD))) == "1 warning, 1 ok."
    assert summary(Diagnosis((BAD, BAD, FINE))) == "2 failures, 1 ok."
