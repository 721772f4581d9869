"""The diagnosis for people: aligned lines, wrapped to a terminal. Pure."""

from __future__ import annotations

import textwrap

from antiphon.adapter.matrix.doctor.finding import LEVELS, TITLES, Diagnosis, Finding

LEVEL_WIDTH = max(map(len, LEVELS)) + 2
TITLE_WIDTH = max(map(len, TITLES.values())) + 2
NARROWEST = 30
SHORT = 60
"""Up to this length what was seen and what to do stand on one line."""


def lines(finding: Finding, width: int | None) -> list[str]:
    """A finding's lines, the level first; `width` is that of the terminal, None leaves them long
    (for programs that read line by line)."""
    head = finding.level.ljust(LEVEL_WIDTH) + finding.title.ljust(TITLE_WIDTH)
    indent = " " * len(head)
    found, todo = finding.detail, f"-> {finding.todo}" if finding.todo else ""
    if len(found) + len(todo) < SHORT:
        found, todo = f"{found} {todo}".strip(), ""
    below = _wrapped(todo, width, len(head)) if todo else []
    first, *more = _wrapped(found, width, len(head))
    return [head + first, *(indent + line for line in (*more, *below))]


def summary(diagnosis: Diagnosis) -> str:
    """The last line: how many of each, the worst first."""
    counts = dict.fromkeys(LEVELS, 0)
    for finding in diagnosis.findings:
        counts[finding.level] += 1
    if diagnosis.worst == "ok":
        return f"All {counts['ok']} checks are ok."
    parts = [_count(counts["failure"], "failure"), _count(counts["warning"], "warning")]
    return f"{', '.join(part for part in parts if part)}, {counts['ok']} ok."


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}" if number else ""


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    if width is None:
        return [text]
    room = max(NARROWEST, width - indent)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
