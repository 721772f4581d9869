"""What the offline assistant reads in the history that it is given: the newest questions, what
their author said before, and what came of its tool calls. Pure."""

from __future__ import annotations

import msgspec

from antiphon.agent.engines.offline.intents import tellings
from antiphon.agent.engines.port import (
    AssistantStep,
    HistoryItem,
    ToolCall,
    ToolReturn,
    UserText,
)
from antiphon.agent.engines.quotes import unquoted


class Asked(msgspec.Struct, frozen=True):
    """The newest question: its messages, what stood before them, and what came of the calls of
    this run's newest step (none yet at the first step)."""

    questions: tuple[UserText, ...]
    before: tuple[HistoryItem, ...]
    calls: tuple[ToolCall, ...]
    returns: dict[str, ToolReturn]


def newest(history: tuple[HistoryItem, ...]) -> Asked:
    """Reads `history` from its end."""
    end = len(history)
    returns: dict[str, ToolReturn] = {}
    calls: tuple[ToolCall, ...] = ()
    while end and not isinstance(history[end - 1], UserText):
        item = history[end - 1]
        if isinstance(item, ToolReturn):
            returns[item.call_id] = item
        elif isinstance(item, AssistantStep) and not calls:
            calls = item.calls
        end -= 1
    start = end
    while start and isinstance(history[start - 1], UserText):
        start -= 1
    questions = tuple(item for item in history[start:end] if isinstance(item, UserText))
    return Asked(questions, history[:start], calls, returns)


def recall(asked: Asked, author: str | None, wanted: str) -> str | None:
    """What `author` last said their `wanted` (such as `name`) is; nobody else's words count."""
    said = (*asked.before, *asked.questions)
    for item in reversed(said):
        if isinstance(item, UserText) and item.author == author:
            for tell in reversed(tellings(unquoted(item))):
                if tell.subject == wanted:
                    return tell.value
    return None


def count(asked: Asked) -> tuple[int, int]:
    """How many messages people wrote (the newest included), and how many answers came."""
    people = sum(isinstance(item, UserText) for item in asked.before) + len(asked.questions)
    answers = sum(isinstance(item, AssistantStep) and not item.calls for item in asked.before)
    return people, answers
