"""What the bot says to commands: Markdown, one function each, so that every surface says the same.

What a person typed is shown only where its characters are known (`UnknownCommand.word`).
"""

from __future__ import annotations

from difflib import get_close_matches

from antiphon.core.commands.catalogue import Catalogue, Command, Who
from antiphon.core.commands.parse import UnknownCommand, WrongUsage
from antiphon.core.commands.standard import STANDARD


def help_text(is_admin: bool, catalogue: Catalogue = STANDARD) -> str:
    """`!help`: the commands that this person may give, a line each."""
    lines = [f"- `{c.usage}`: {_sentence(c)}" for c in catalogue.visible(is_admin)]
    return "\n".join(["Write to me and I answer. These commands are for me:", "", *lines])


def command_help(name: str, is_admin: bool, catalogue: Catalogue = STANDARD) -> str:
    """`!help NAME`; `name` as typed, with or without the `!`. An unknown name, or that of a
    command that this person may not give, gets the list."""
    command = catalogue.find(name.removeprefix("!"))
    if command is None or command not in catalogue.visible(is_admin):
        return f"There is no such command.\n\n{help_text(is_admin, catalogue)}"
    parts = [f"`{command.usage}`: {_sentence(command)}", command.details]
    if command.aliases:
        parts.append("Also: " + ", ".join(f"`!{alias}`" for alias in command.aliases) + ".")
    return " ".join(part for part in parts if part)


def unknown_reply(
    unknown: UnknownCommand, is_admin: bool = False, catalogue: Catalogue = STANDARD
) -> str:
    """To a `!word` that is no command: the nearest one that this person may give."""
    names = {name: c.name for c in catalogue.visible(is_admin) for name in (c.name, *c.aliases)}
    near = get_close_matches(unknown.word.lower(), names, n=1, cutoff=0.6)
    hint = f"Did you mean `!{near[0]}`?" if near else "`!help` shows the commands."
    return f"There is no command `!{unknown.word}`. {hint}"


def usage_reply(wrong: WrongUsage) -> str:
    """To a command with too many or too few arguments."""
    if not wrong.command.arguments:
        return f"`!{wrong.command.name}` stands alone: send just `{wrong.command.usage}`."
    return f"Use it like this: `{wrong.command.usage}`."


def not_permitted_reply(command: Command) -> str:
    """To someone who may not give this command."""
    return f"Only an administrator of this bot may use `!{command.name}`."


def nothing_to_retry_reply() -> str:
    """To `!retry`, where nobody asked anything that could be asked again."""
    return "There is no question here to ask again."


def stopped_reply(count: int) -> str:
    """To `!stop`, when `count` (1 or more) answers were stopped."""
    return "Stopped." if count == 1 else f"Stopped {count} answers."


def nothing_running_reply() -> str:
    """To `!stop`, when there was nothing to stop."""
    return "Nothing is running here."


def new_session_reply() -> str:
    """To `!new`."""
    return "A new conversation begins. I no longer remember what was said before."


def _sentence(command: Command) -> str:
    return command.help + (" (admins)" if command.who is Who.ADMIN else "")
