"""A long answer as several messages, whose boundaries never move while the answer grows. Pure.

A boundary is chosen from left to right, and from nothing but the text up to the place where the
part is full. So what has been said in one message stays there, whatever comes after.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from enum import IntEnum

import msgspec

from antiphon.core.render.fence import Fence, after_line, open_at_end
from antiphon.core.render.measure import EVENT_TEXT_BYTES, cost
from antiphon.core.render.text import clean

DEFAULT_LIMIT = 12_000
"""Most characters of one part; `measure.EVENT_TEXT_BYTES` may end it earlier."""

MIN_LIMIT = 256
"""Smallest limit that leaves room for reopening a code fence."""

_CLOSING_CHARS = 64  # room for the line that closes an open fence
_CLOSING_COST = 256
_MARK_COST = 1_200  # room for what `answer` adds to a part's end
_MAX_CLUSTER = 32  # how far back the beginning of a long emoji or letter is looked for

_SENTENCE_END = re.compile(r"[.!?…][\"')\]*_”’»]{0,4}(?=\s)|[。！？｡][」』）”’]{0,2}")  # noqa: RUF001
_SPACE = re.compile(r"\s")


class _Rank(IntEnum):
    """How good a line end is as a boundary."""

    IN_CODE = 1
    BLANK_IN_CODE = 2
    IN_TABLE = 3
    LINE = 4
    PARAGRAPH = 5


class _Cut(msgspec.Struct, frozen=True):
    """A boundary: the part before it, where the next one starts and with which fence open, and
    how much of the text was looked at."""

    part: str
    next_start: int
    fence: Fence | None
    seen: int


def split(text: str, limit: int = DEFAULT_LIMIT) -> tuple[str, ...]:
    """`text`, cleaned (`text.clean`), as parts of at most `limit` characters, each of which fits
    into one event. Empty for a blank text. Raises ValueError for a `limit` below MIN_LIMIT.

    Stable: with more text at its end, all parts but the last stay as they are, and none goes away.
    White space at a boundary and at both ends is dropped.

    A boundary is, in the last half of what fits, the last of: a paragraph's end, a line's end, one
    in a table, one in a code block, a sentence's end, a space; else any place between two
    characters as people count them. A code block that goes over a boundary is closed before it and
    opened anew after it, with its language."""
    return PartSplitter(limit).split(text)


class PartSplitter:
    """`split` for a text that grows: remembers the boundaries, so that each call costs only what
    is new. The answer is the same as that of `split`, for a text that shrank or changed, too."""

    def __init__(self, limit: int = DEFAULT_LIMIT):
        if limit < MIN_LIMIT:
            raise ValueError(f"a part needs at least {MIN_LIMIT} characters")
        self._limit = limit
        self._text = ""
        self._cuts: list[_Cut] = []

    def split(self, text: str) -> tuple[str, ...]:
        """See `split`."""
        text = clean(text).rstrip()
        if not text.startswith(self._text):
            while self._cuts and not text.startswith(self._text[: self._cuts[-1].seen]):
                self._cuts.pop()
        self._text = text
        start, fence = 0, None
        if self._cuts:
            start, fence = self._cuts[-1].next_start, self._cuts[-1].fence
        while True:
            start, fence = _skip_nothing(text, start, fence)
            cut = _next_cut(text, start, fence, self._limit)
            if cut is None:
                break
            self._cuts.append(cut)
            start, fence = cut.next_start, cut.fence
        parts = [cut.part for cut in self._cuts]
        if start < len(text):
            parts.append(_part(text, start, len(text), fence, None))
        return tuple(parts)


def _skip_nothing(text: str, start: int, fence: Fence | None) -> tuple[int, Fence | None]:
    """Where a part that would start at `start` really begins: behind blank lines, and behind the
    end of the code block that was open there (or what may become its end)."""
    while start < len(text):
        if fence is None:
            while start < len(text) and text[start].isspace():
                start += 1
            return start, None
        end = text.find("\n", start)
        line = text[start:] if end < 0 else text[start:end]
        if fence.ends_before(line) and line.strip():
            fence = None
        elif fence.is_closed_by(line):
            start, fence = start + len(line) + 1, None
        elif not line.strip() or (end < 0 and fence.may_be_closed_by(line)):
            start += len(line) + 1
        else:
            break
    return min(start, len(text)), fence


def _next_cut(text: str, start: int, fence: Fence | None, limit: int) -> _Cut | None:
    """The boundary of the part that starts at `start`; None when all the rest fits into it."""
    opening = f"{fence.reopening}\n" if fence else ""
    chars = limit - len(opening) - _CLOSING_CHARS
    budget = EVENT_TEXT_BYTES - _CLOSING_COST - _MARK_COST - cost(opening)
    longest = min(chars, len(text) - start)
    fitting = bisect_right(range(longest + 1), budget, key=lambda n: cost(text[start : start + n]))
    full = start + fitting - 1
    if full >= len(text):
        return None
    # At least one character, whatever it costs: a part must come to an end.
    end, next_start, after = _boundary(text, start, max(full, start + 1), fence)
    seen = next(i for i in range(full, len(text)) if not text[i].isspace()) + 1
    return _Cut(_part(text, start, end, fence, after), next_start, after, max(seen, end))


def _boundary(
    text: str, start: int, full: int, fence: Fence | None
) -> tuple[int, int, Fence | None]:
    """The best boundary in the last half of text[start:full]: the part's end, the next one's
    start, and the fence open there. text[full] exists, nothing after it is looked at."""
    floor = start + (full - start) // 2
    best: tuple[_Rank, int, Fence | None] | None = None
    line_start, current = start - _margin(text, start), fence
    while (line_end := text.find("\n", line_start, full + 1)) >= 0:
        before, current = current, after_line(current, text[line_start:line_end])
        if line_end >= floor and line_end > start:
            rank = _rank(text[line_start:line_end], before, current)
            if rank is not None and (best is None or rank >= best[0]):
                best = (rank, line_end, current)
        line_start = line_end + 1
    if best is not None:
        return best[1], best[1] + 1, best[2]
    end = _in_line(text, start, max(floor, line_start, start + 1), full)
    return end, end, current


def _rank(line: str, before: Fence | None, after: Fence | None) -> _Rank | None:
    """How good the end of `line` is as a boundary; None: not at all (an empty code block)."""
    if after is not None:
        if before is None:
            return None
        return _Rank.IN_CODE if line.strip() else _Rank.BLANK_IN_CODE
    if before is not None or not line.strip():
        return _Rank.PARAGRAPH
    return _Rank.IN_TABLE if line.lstrip().startswith("|") else _Rank.LINE


def _in_line(text: str, start: int, floor: int, full: int) -> int:
    """A boundary inside one long line, in text[floor:full + 1], of a part from `start` on."""
    if floor >= full:
        return full
    for pattern in (_SENTENCE_END, _SPACE):
        ends = [match.end() for match in pattern.finditer(text, floor, full + 1)]
        ends = [end for end in ends if end <= full]
        if ends:
            return ends[-1]
    for end in range(full, max(floor, full - _MAX_CLUSTER), -1):
        if not _joined(text, start, end):
            return end
    return full


def _joined(text: str, start: int, at: int) -> bool:
    """Whether text[at] belongs to the character before it (a rough form of Unicode's UAX #29);
    text[start] begins a character."""
    char, before = text[at], text[at - 1]
    if "\u200d" in (char, before):  # zero-width joiner
        return True
    if unicodedata.category(char) in ("Mn", "Mc", "Me") or "\U0001f3fb" <= char <= "\U0001f3ff":
        return True
    if "\udc00" <= char <= "\udfff" and "\ud800" <= before <= "\udbff":
        return True
    if _is_flag(char) and _is_flag(before):
        run = 0
        while run < at - start and _is_flag(text[at - 1 - run]):
            run += 1
        return run % 2 == 1
    return False


def _is_flag(char: str) -> bool:
    """Whether it is a regional indicator; two of them are one flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _part(text: str, start: int, end: int, opened: Fence | None, open_after: Fence | None) -> str:
    """The text of the part text[start:end]: the code block it begins in opened anew, the one it
    ends in closed, and without the indentation of a list that began in an earlier part."""
    if opened is None:
        body = _dedented(text[start:end], _margin(text, start), None)
    else:
        body = f"{opened.reopening}\n{_dedented(text[start:end], len(opened.margin), opened)}"
    body = body.rstrip()
    if open_after is not None:
        body = f"{body}\n{(open_at_end(body) or open_after).closing}"
    return body


def _margin(text: str, start: int) -> int:
    """How far the line that begins at text[start] is indented; 0 in the middle of a line."""
    lead = text[text.rfind("\n", 0, start) + 1 : start]
    return 0 if lead.strip() else len(lead)


def _dedented(body: str, margin: int, fence: Fence | None) -> str:
    """`body` with lines less indented by `margin`, up to the first that is not so far indented;
    in the code block that it begins in, all lines."""
    if not margin:
        return body
    lines = body.split("\n")
    for index, line in enumerate(lines):
        space = len(line) - len(line.lstrip(" \t"))
        if fence is not None:
            fence = after_line(fence, line)
        elif line.strip() and space < margin and index:
            break
        lines[index] = line[min(space, margin) :]
    return "\n".join(lines)
