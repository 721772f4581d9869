"""What a check found: a level, what was seen, and what to do; and all findings together. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from antiphon.errors import AntiphonError

Level = Literal["ok", "warning", "failure"]

LEVELS: tuple[Level, ...] = ("ok", "warning", "failure")
"""From the best to the worst; the place in it is the exit code."""

TITLES = {
    "settings": "Settings",
    "allow": "Who may talk",
    "disk": "Disk space",
    "permissions": "Permissions",
    "running": "Adapter",
    "journal": "Journal",
    "chats": "Chats",
    "homeserver": "Homeserver",
    "clock": "Clock",
    "login": "Login",
    "limits": "Rate limits",
    "rooms": "Rooms",
    "encryption": "Encryption",
    "agent": "Agent",
    "model": "Model",
}
"""Id and title of every finding that there can be, in the order in which they are shown."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the diagnosis. `detail`: what was seen; `todo`: what to do about it, empty only
    where the level is `ok`. Neither ever holds a password or token."""

    id: str
    level: Level
    title: str
    detail: str
    todo: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """All findings, in the order of `TITLES`."""

    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Level:
        """The worst level that there is; `ok` where nothing was found."""
        return max((f.level for f in self.findings), key=LEVELS.index, default="ok")

    @property
    def exit_code(self) -> int:
        """0 all ok, 1 warnings, 2 failures."""
        return LEVELS.index(self.worst)

    def as_json(self, version: str) -> bytes:
        """One object: `version` (Antiphon's), `worst`, `findings`."""
        whole = {"version": version, "worst": self.worst, "findings": self.findings}
        return msgspec.json.format(msgspec.json.encode(whole), indent=2)


def ok(id_: str, detail: str) -> Finding:
    """All is as it should be, or there is nothing to look at yet."""
    return Finding(id_, "ok", TITLES[id_], _sentence(detail))


def warning(id_: str, detail: str, todo: str) -> Finding:
    """It works, or could, and somebody should look at it."""
    return Finding(id_, "warning", TITLES[id_], _sentence(detail), todo)


def failure(id_: str, detail: str, todo: str) -> Finding:
    """The adapter can't work like this."""
    return Finding(id_, "failure", TITLES[id_], _sentence(detail), todo)


def failed(id_: str, error: AntiphonError, todo: str) -> Finding:
    """A failure that an error tells of."""
    return failure(id_, error.message, todo)


def not_looked(id_: str, why: str, todo: str) -> Finding:
    """It could not be looked at, because of something that another finding tells."""
    return warning(id_, f"not looked at: {why}", todo)


def _sentence(text: str) -> str:
    """On one line, with a capital letter (names, paths and addresses keep theirs) and a stop."""
    text = " ".join(text.split())
    if text.partition(" ")[0].rstrip(",:").isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
