"""Who is meant by an allow-list of Matrix IDs and globs. Pure decisions; default nobody.

A user ID is data: it is compared character by character, never normalised, so a
Cyrillic `a` makes another user than a Latin one. An ID that is none (no `@`, no server, longer than
255 bytes, spaces or control characters in it) is never allowed, not even by `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from antiphon.errors import SettingsError

MAX_ID_BYTES = 255
"""Longest user ID (Matrix specification, "User Identifiers"), in UTF-8."""

# Before the first colon anything printable (IDs made before the grammar was strict have all of
# Unicode), after it a server name: a host name, IPv4 or [IPv6] address, perhaps with a port.
_LOCAL = r"[^\s:\x00-\x1f\x7f-\x9f\ud800-\udfff]*"
_USER_ID = re.compile(
    rf"@(?P<local>{_LOCAL}):(?P<server>(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?)"
)
_PATTERN = re.compile(rf"@(?P<local>{_LOCAL}):(?P<server>[A-Za-z0-9.\-:\[\]*?]+)")


class AllowList:
    """The users that some patterns name: whole Matrix IDs (`@alice:example.org`), globs
    (`@*:example.org`; `*` any characters, `?` one), or `*` for every user.

    The two sides of the colon are matched apart, each as a whole: `@*:example.org` means the
    users of exactly that server, of no server whose name begins or ends with it."""

    def __init__(self, patterns: Iterable[str], setting: str = "[matrix] allow"):
        """Raises SettingsError naming `setting` and the pattern that is none, and the right form.
        Spaces around a pattern are ignored."""
        self._everybody = False
        exact: set[str] = set()
        globs: list[tuple[str, str]] = []
        for pattern in (raw.strip() for raw in patterns):
            if pattern == "*":
                self._everybody = True
                continue
            match = _PATTERN.fullmatch(pattern)
            if match is None or not match["local"] or len(pattern.encode()) > MAX_ID_BYTES:
                raise SettingsError(f"{setting}: {pattern!r} {_what_is_wrong(pattern)}")
            if "*" in pattern or "?" in pattern:
                globs.append((match["local"], match["server"]))
            else:
                exact.add(pattern)
        self._exact = frozenset(exact)
        self._globs = tuple(globs)

    @property
    def nobody(self) -> bool:
        """Whether no user at all is allowed: worth a warning at start."""
        return not (self._everybody or self._exact or self._globs)

    @property
    def everybody(self) -> bool:
        """Whether every user of every server is allowed."""
        return self._everybody

    def allows(self, user_id: str) -> bool:
        """Whether `user_id` is meant. Never raises, whatever the text."""
        match = _USER_ID.fullmatch(user_id)
        if match is None or len(user_id.encode()) > MAX_ID_BYTES:
            return False
        if self._everybody or user_id in self._exact:
            return True
        return any(
            glob_matches(local, match["local"]) and glob_matches(server, match["server"])
            for local, server in self._globs
        )


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is what `pattern` says: `*` any characters, also none; `?` one;
    all others themselves. Takes at most len(pattern) * len(text) steps."""
    at = position = 0
    star = retry = -1
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, retry = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            retry += 1
            at, position = star + 1, retry
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def _what_is_wrong(pattern: str) -> str:
    form = "Use @user:server, @*:server or *"
    if pattern.startswith(("!", "#")):
        return f"names a room, not a user. {form}."
    if re.search(r"[\s\x00-\x1f]", pattern):
        return f"holds a space or control character. {form}; one pattern each."
    if pattern and not pattern.startswith("@"):
        guess = f"@{pattern}" if ":" in pattern else f"@*:{pattern}" if "." in pattern else None
        hint = f"did you mean {guess!r}? " if guess and _PATTERN.fullmatch(guess) else ""
        return f"does not begin with '@': {hint}{form}."
    if pattern.startswith("@") and ":" not in pattern:
        return f"names no server. {form}."
    return f"is no Matrix ID or glob of one. {form}."
