"""Is this message a command? Decided from its text alone. Pure.

A command is `!word` at the very start of a message: nothing before it, not even a space or a quote
mark, and a letter right after the `!`. So `! really`, `!!`, `!?`, `> !stop` and "say !stop" are
talk. A `!word` that no command has is not talk either: it is answered with a hint and not given to
the model, so that a mistyped command never ends up in the model's memory.
"""

from __future__ import annotations

import re

import msgspec

from antiphon.core.commands.catalogue import Catalogue, Command
from antiphon.core.commands.standard import STANDARD

# A word of up to 32 characters, then a space or the end. Punctuation may stand between (`!stop!`),
# but makes it a command only where a command of that name exists (`!wow!` is talk).
_COMMAND = re.compile(r"!(?P<name>[A-Za-z][A-Za-z0-9_-]{0,31})(?P<punctuation>[.,:;!?]*)(?=\s|$)")


class ParsedCommand(msgspec.Struct, frozen=True):
    """A command with its arguments as typed; an absent optional one at the end is left out."""

    command: Command
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The command's own name, whichever alias was typed."""
        return self.command.name


class UnknownCommand(msgspec.Struct, frozen=True):
    """A `!word` that is no command. `word` as typed, without the `!`: letters, digits, `_-`."""

    word: str


class WrongUsage(msgspec.Struct, frozen=True):
    """A command with arguments that it does not take; `command.usage` is the right form."""

    command: Command


def parse(
    text: str, catalogue: Catalogue = STANDARD
) -> ParsedCommand | UnknownCommand | WrongUsage | None:
    """The command that `text`, one whole message, is; None when it is talk. Never raises. Who may
    give it is not decided here (`Command.who`)."""
    match = _COMMAND.match(text)
    if match is None:
        return None
    command = catalogue.find(match["name"])
    if command is None:
        return None if match["punctuation"] else UnknownCommand(match["name"])
    arguments = _arguments(command, text[match.end() :].strip())
    return WrongUsage(command) if arguments is None else ParsedCommand(command, arguments)


def _arguments(command: Command, text: str) -> tuple[str, ...] | None:
    """The arguments in `text`, or None when they are too many or too few."""
    declared = command.arguments
    limit = len(declared) - 1 if declared and declared[-1].rest else -1
    words = text.split(None, limit) if limit != 0 else [text] * bool(text)
    needed = sum(not argument.optional for argument in declared)
    return tuple(words) if needed <= len(words) <= len(declared) else None
