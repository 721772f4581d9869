"""Who says what, for models that know only one user. Pure."""

from __future__ import annotations

from antiphon.agent.engines.port import HistoryItem, UserText


def several(history: tuple[HistoryItem, ...]) -> bool:
    """Whether more than one person speaks in `history`."""
    return len({item.author for item in history if isinstance(item, UserText)}) > 1


def spoken(item: UserText, *, named: bool) -> str:
    """What a person said, as a model reads it: with the speaker's id before it where `named`."""
    return f"{item.author}: {item.text}" if named and item.author else item.text
