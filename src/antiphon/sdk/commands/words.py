"""Words that the replies share. Text of strangers (ids, titles, values) is shown as code, so that
it neither formats, links nor calls anybody."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from antiphon.core.chats import Session
from antiphon.core.render.text import clean

LONGEST = 200


def code(text: str, longest: int = LONGEST) -> str:
    """`text` as one code span of Markdown, on one line, whatever is in it."""
    line = " ".join(clean(text).split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    if not line:
        return "(empty)"
    ticks = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    space = " " if "`" in line[:1] + line[-1:] else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def when(at_ms: int) -> str:
    """A time for a person: `2026-11-22 17:28 UTC`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def counted(number: int, one: str, many: str = "") -> str:
    """`1 question`, `2,000 questions`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def named(session: Session) -> str:
    """A session for a person: its number, and its title where it has one."""
    return f"{session.number}" + (f" ({code(session.title)})" if session.title else "")


def cut(text: str, longest: int, note: str) -> str:
    """At most `longest` characters of whole lines, and `note` where something was left out."""
    if len(text) <= longest:
        return text
    kept = text[: max(0, longest - len(note) - 2)]
    return kept[: kept.rfind("\n") + 1 or len(kept)].rstrip() + "\n\n" + note
