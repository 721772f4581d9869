"""Whether a message in a room is meant for the bot (setting `answer_when`). Pure, plain values.

What a client says in `m.mentions` decides; the text is looked at only where a client says nothing
there (Matrix 1.7, "User and room mentions"). `@room` means everybody, so not the bot.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from antiphon.core.chat_settings import AnswerWhen
from antiphon.core.ids import UserId

SHORTEST_NAME: Final = 2
"""A display name of fewer characters is no way to call somebody: it stands in too many texts."""


class Heard(msgspec.Struct, frozen=True):
    """A message as far as it matters here. `text`: its body. `mentions`: the user ids of its
    `m.mentions`, None where the message has no such field (an empty one says: nobody).
    `replies_to_bot`: a person chose to reply to an event of the bot's own; the reply that a client
    adds to messages in a thread for the sake of old clients (`is_falling_back`) is none.
    `command`: it is a command, or looks like one."""

    text: str
    mentions: tuple[str, ...] | None = None
    replies_to_bot: bool = False
    command: bool = False


def is_answered(when: AnswerWhen, heard: Heard, me: UserId, display_name: str = "") -> bool:
    """Whether `heard` is to be answered by the bot `me`, called `display_name` in that room."""
    return when == "always" or heard.command or is_addressed(heard, me, display_name)


def is_addressed(heard: Heard, me: UserId, display_name: str = "") -> bool:
    """Whether the message mentions the bot or replies to it."""
    if heard.replies_to_bot:
        return True
    if heard.mentions is not None:
        return me in heard.mentions
    own = "\n".join(line for line in heard.text.splitlines() if not line.startswith(">"))
    return _has_id(own, me) or _has_name(own, display_name.strip())


def _has_id(text: str, user_id: str) -> bool:
    """The whole id, not a part of a longer one: not `@bot:example.org` in
    `@bot:example.org.evil`, but with a full stop behind it."""
    return (
        re.search(rf"(?<![\w@./=+-]){re.escape(user_id)}(?![\w-]|[.:][\w\[])", text, re.ASCII)
        is not None
    )


def _has_name(text: str, name: str) -> bool:
    if len(name) < SHORTEST_NAME:
        return False
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None
