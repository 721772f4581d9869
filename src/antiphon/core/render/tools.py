"""The tools that an answer used, with what they gave back, for who asked to see that. Pure.

What a tool says is nobody's word but the tool's: it is shown as code, on one line, cut short."""

from __future__ import annotations

import re
from collections.abc import Iterable

from antiphon.core.render.answer import Parts, added
from antiphon.core.render.markdown import to_html
from antiphon.core.render.measure import fits
from antiphon.core.render.text import clean

MOST = 8
"""Most tool calls that are shown; the rest are counted."""
LONGEST = 300
"""Most characters of one result."""

Use = tuple[str, str | None, str | None]
"""One call: the tool's name, what it gave back (None: nothing is known), and how it ended."""


def with_results(parts: Parts, uses: Iterable[Use]) -> Parts:
    """The answer with a line for each tool call under it; a part of their own where they do not fit
    into the last one."""
    calls = tuple(uses)
    if not calls:
        return parts
    lines = [_line(*call) for call in calls[:MOST]]
    if len(calls) > MOST:
        lines.append(f"- {len(calls) - MOST} more")
    block = "\n".join(lines)
    whole = added(parts, block)
    return whole if fits(whole[-1], to_html(whole[-1])) else (*parts, block)


def _line(name: str, result: str | None, outcome: str | None) -> str:
    shown = re.sub(r"[^\w.:/-]", "", name)[:40] or "?"
    ended = {"error": " failed", "unknown": ", outcome unknown"}.get(outcome or "", "")
    text = " ".join(clean(result or "").split()).replace("`", "'")
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return f"- `{shown}`{ended}" + (f": `{text}`" if text else "")
