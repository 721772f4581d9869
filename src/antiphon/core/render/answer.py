"""What is added to an answer's own words: how it ended, what went wrong, which tools were used.

Pure. Everything is added to the end of the last part, after the answer was split: so no mark moves
a boundary, in whatever order marks come and go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from antiphon.core.ids import RunId
from antiphon.core.render.fence import open_at_end
from antiphon.core.render.text import clean

EMPTY = "*(The model gave an empty answer.)*"
STOPPED = "*(stopped)*"
STOPPED_EARLY = "*(stopped before the answer began)*"
INTERRUPTED = "*(interrupted, going on…)*"

_MAX_SENTENCE = 300  # characters of an error's sentence, so that every part with it still fits
_MAX_TOOLS = 8

Parts = tuple[str, ...]
"""The parts of an answer, as `split` gives them; none where there is no text yet."""


def finished(parts: Parts) -> Parts:
    """A whole answer."""
    return parts or (EMPTY,)


def stopped(parts: Parts) -> Parts:
    """What there was when someone stopped it."""
    return added(parts, STOPPED) if parts else (STOPPED_EARLY,)


def interrupted(parts: Parts) -> Parts:
    """An answer on its way while the agent is away; the mark goes when it goes on."""
    return added(parts, INTERRUPTED)


def failed(parts: Parts, message: str, error: str) -> Parts:
    """What there was when the run ended in an error, and the error (see `error_sentence`)."""
    return added(parts, error_sentence(message, error))


def with_tools(parts: Parts, names: Iterable[str]) -> Parts:
    """The answer with one line on the tools that were used, in order of their first use; not
    shown unless someone asks for it."""
    counts: dict[str, int] = {}
    for name in names:
        shown = re.sub(r"[^\w.:/-]", "", name)[:40] or "?"
        counts[shown] = counts.get(shown, 0) + 1
    if not counts:
        return parts
    used = [f"`{name}`" + (f" ×{n}" if n > 1 else "") for name, n in counts.items()]  # noqa: RUF001
    more = [f"{len(used) - _MAX_TOOLS} more"] if len(used) > _MAX_TOOLS else []
    return added(parts, "*used " + ", ".join(used[:_MAX_TOOLS] + more) + "*")


def error_sentence(message: str, error: str) -> str:
    """`The model can't be reached. (error 1a2b3c)`: one line, whatever `message` holds."""
    sentence = " ".join(clean(message).split()) or "Something went wrong."
    if len(sentence) > _MAX_SENTENCE:
        sentence = sentence[: _MAX_SENTENCE - 1] + "…"
    return f"{sentence} (error {error})"


def error_id(run: RunId, code: str) -> str:
    """The short id of an error, for the room and the log: the same for the same run and code, so
    that a repeated delivery says the same."""
    return hashlib.sha256(f"{run}\x00{code}".encode()).hexdigest()[:6]


def added(parts: Parts, line: str) -> Parts:
    """`line` as a paragraph of its own at the end, outside of a code block that is still open."""
    if not parts:
        return (line,)
    last = parts[-1]
    fence = open_at_end(last)
    if fence is not None:
        last = f"{last}\n{fence.closing}"
    return (*parts[:-1], f"{last}\n\n{line}")
