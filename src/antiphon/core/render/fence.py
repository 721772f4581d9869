"""Code fences, read line by line: which one is open at a place in a text. Pure."""

from __future__ import annotations

import re

import msgspec

# An opening fence: quote marks, list marks and spaces, three or more ` or ~, a language. Longer
# ones than anybody writes are taken for text, so that closing and reopening stays cheap.
_OPEN = re.compile(
    r"(?P<lead>[ \t]{0,16}(?:(?:>|[-*+]|\d{1,9}[.)])[ \t]{1,4}|>){0,6}[ \t]{0,4})"
    r"(?P<marks>`{3,16}(?!`)|~{3,16}(?!~))(?P<info>[^\n]{0,200})$"
)
_LANGUAGE = re.compile(r"[^\s`~]{1,40}")
_QUOTES = re.compile(r"[ \t]*(?:>[ \t]?)+")


class Fence(msgspec.Struct, frozen=True):
    """An open code fence: the quote marks before it or else its margin (what it is indented by,
    inside of a list), its marks (three or more ` or ~) and its language."""

    quote: str
    margin: str
    marks: str
    language: str

    @property
    def reopening(self) -> str:
        """The line that opens it anew in another text, without the list that it stood in."""
        return f"{self.quote}{self.marks}{self.language}"

    @property
    def closing(self) -> str:
        """The line that closes it where it was opened."""
        return f"{self.quote}{self.margin}{self.marks}"

    def is_closed_by(self, line: str) -> bool:
        """Whether `line` (without its line end) closes this fence."""
        marks = self._unquoted(line).strip(" \t")
        return len(self.marks) <= len(marks) <= 64 and marks == (self.marks[0] * len(marks))

    def may_be_closed_by(self, line: str) -> bool:
        """Whether `line`, that may still grow, is nothing yet or the beginning of a closing."""
        return not self._unquoted(line).strip(" \t").strip(self.marks[0])

    def ends_before(self, line: str) -> bool:
        """Whether `line` leaves the quote in which the fence stands, and so the fence."""
        return bool(self.quote) and not line.lstrip(" \t").startswith(">")

    def _unquoted(self, line: str) -> str:
        return line.lstrip("> \t") if self.quote else line


def opened_by(line: str) -> Fence | None:
    """The fence that `line` (without its line end) opens, read outside of any fence."""
    match = _OPEN.match(line)
    if match is None or (match["marks"][0] == "`" and "`" in match["info"]):
        return None
    lead, language = match["lead"], _LANGUAGE.match(match["info"].strip())
    quotes = _QUOTES.match(lead)
    quote = "> " * quotes[0].count(">") if quotes else ""
    margin = "" if quote else re.sub(r"[^\t]", " ", lead)
    return Fence(quote, margin, match["marks"], language[0] if language else "")


def after_line(fence: Fence | None, line: str) -> Fence | None:
    """The fence that is open after `line`, when `fence` was before it."""
    if fence is None:
        return opened_by(line)
    if fence.ends_before(line):
        return opened_by(line)
    return None if fence.is_closed_by(line) else fence


def open_at_end(text: str) -> Fence | None:
    """The fence that is still open at the end of `text`."""
    fence: Fence | None = None
    if "```" in text or "~~~" in text:
        for line in text.split("\n"):
            fence = after_line(fence, line)
    return fence
