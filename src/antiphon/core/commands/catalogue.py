"""What a declaration of a command says: name, aliases, arguments, help, who may. The declarations
are in `standard`; what a command does is carried out by `sdk.commander` and the surface."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec


class Who(StrEnum):
    """Who may give a command."""

    ANYONE = "anyone"  # everyone who may talk to the bot at all
    ADMIN = "admin"


class Argument(msgspec.Struct, frozen=True):
    """One argument. `rest` takes all that follows, spaces too, and must be the last one."""

    name: str
    optional: bool = False
    rest: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `immediate`: carried out as soon as it is read, ahead of what waits in its
    lane; the others are taken in order, like any message. `help` is one sentence, `details` what
    `!help NAME` adds to it (both Markdown)."""

    name: str
    help: str
    details: str = ""
    aliases: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    who: Who = Who.ANYONE
    immediate: bool = False

    @property
    def usage(self) -> str:
        """How it is typed: `!rename NAME…`, `!help [COMMAND]`."""
        words = [f"!{self.name}"]
        for argument in self.arguments:
            word = argument.name.upper() + ("…" if argument.rest else "")
            words.append(f"[{word}]" if argument.optional else word)
        return " ".join(words)


class Catalogue:
    """All commands of a process, in the order in which `!help` shows them. Never changes.

    Raises ValueError for two commands of one name and for arguments in an impossible order: a
    mistake in the program."""

    def __init__(self, commands: Iterable[Command]):
        self.commands: Final = tuple(commands)
        self._by_name: dict[str, Command] = {}
        for command in self.commands:
            for name in (command.name, *command.aliases):
                if name in self._by_name or name != name.lower():
                    raise ValueError(f"the command name {name!r} is taken or not lower case")
                self._by_name[name] = command
            _check_arguments(command)

    def find(self, name: str) -> Command | None:
        """The command of that name or alias, upper or lower case."""
        return self._by_name.get(name.lower())

    def without(self, *names: str) -> Catalogue:
        """The same commands but these: for a surface on which they mean nothing."""
        return Catalogue(command for command in self.commands if command.name not in names)

    def visible(self, is_admin: bool) -> tuple[Command, ...]:
        """The commands that this person may give."""
        return tuple(c for c in self.commands if is_admin or c.who is Who.ANYONE)


def _check_arguments(command: Command) -> None:
    optional = False
    for index, argument in enumerate(command.arguments):
        if argument.rest and index != len(command.arguments) - 1:
            raise ValueError(f"!{command.name}: only the last argument can take the rest")
        if optional and not argument.optional:
            raise ValueError(f"!{command.name}: a needed argument stands after an optional one")
        optional = argument.optional
