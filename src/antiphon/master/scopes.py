"""What a token may: the scopes of the control plane. Pure."""

from __future__ import annotations

from typing import Final

from antiphon.errors import SettingsError

SCOPES: Final[dict[str, str]] = {
    "chats": "chats and sessions of its surface",
    "settings": "settings of its surface, its rooms and users, and what applies to a question",
    "users": "people and their roles",
    "usage": "what people used",
    "erase": "erasing people",
    "export": "all that is kept of a person",
    "platform": "settings of every surface",
    "audit": "the log of changes",
}
"""Each scope and what it opens."""

OF_A_SURFACE: Final = ("chats", "settings", "users", "usage", "erase", "export")
"""What a surface needs; a token gets these unless others are named."""

EVERY_SURFACE: Final = "*"
"""The surface of an operator's token, which names another one by `?surface=`."""

MAX_SURFACE: Final = 64


def checked(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The scopes, each once, in the table's order. Raises SettingsError for one that is none."""
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise SettingsError(
            f"There is no scope {', '.join(map(repr, wrong))}. There are: {', '.join(SCOPES)}."
            if wrong
            else f"Name at least one scope: {', '.join(SCOPES)}."
        )
    return tuple(scope for scope in SCOPES if scope in scopes)


def checked_surface(surface: str) -> str:
    """The name of a surface, or `*`. Raises SettingsError for one that is none."""
    named = surface.isascii() and surface.replace("-", "").replace("_", "").isalnum()
    if surface != EVERY_SURFACE and (not named or len(surface) > MAX_SURFACE):
        raise SettingsError(
            f"A surface is named by up to {MAX_SURFACE} letters, digits, - and _ (such as "
            "`matrix`), or * for an operator's token."
        )
    return surface
