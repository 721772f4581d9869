"""Writes `docs/cli.md`, `docs/settings.md` and `docs/commands.md` from the commands, the table of
settings, and what may be said and set in a chat.

`python -m antiphon.cli.docs [--check] [FOLDER]`: with `--check` it changes nothing, and fails
where a page is not what it would write. No command imports this."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from antiphon.cli.app import antiphon
from antiphon.core.chat_settings import SETTINGS, Setting
from antiphon.core.commands import STANDARD, Command, Who
from antiphon.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from antiphon.run.settings_table import Row, rows, toml_value
from antiphon.settings import SECTIONS

CLI_HEAD = """\
Each error is one line on standard error, `antiphon: SENTENCE`. Exit codes: 0 done, 1 failed,
2 wrong usage or settings (starting again would not help), 128 + N ended by signal N (Ctrl-C: 130).
"""

SETTINGS_HEAD = """\
From `--config FILE`, else `./antiphon.toml`, else `antiphon/antiphon.toml` in the user's
configuration folder. A variable wins over the file; a list is written with commas in it. A secret
can also be the content of a file, named by its variable with `_FILE` at the end. `antiphon init`
writes a file with every setting explained."""

COMMANDS_HEAD = """\
A command is `!` and its name at the very start of a message, with nothing before it, not even a
space; upper or lower case. In an edit or a quote it is none. A name that is nearly right is
answered with the right one, and is not given to the model. Every surface takes the same commands,
except where one means nothing there. A command is taken in order with the questions before it,
unless it says that it acts at once."""

CHAT_SETTINGS_HEAD = """\
A setting has one value for each scope in which it was set; the narrowest one applies: `me` (you,
wherever you ask on this surface), `room`, `surface` (such as all of Matrix), `everywhere`. The wide
two are the administrators'. In `room` it is set by people with power there (Matrix: whoever may
change the room's settings) and by administrators."""

CHANGERS = {
    "anyone": "anybody for themselves; for a room its moderators",
    "moderator": "the room's moderators",
    "admin": "administrators",
}

MADE = "<!-- Made by `make docs` from the source; changes here are overwritten. -->"
WIDTH = 90


def pages() -> dict[str, str]:
    """The generated pages: file name to text."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "commands.md": commands_page(),
    }


def cli_page() -> str:
    """Every command with its help."""
    parts = ["# Commands", MADE, CLI_HEAD.strip()]
    for words, text in _helps(antiphon, ("antiphon",), None):
        parts.append(f"## `{' '.join(words)}`\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _helps(
    command: click.Command, words: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    settings = {**command.context_settings, "terminal_width": WIDTH}
    context = click.Context(command, info_name=words[-1], parent=parent, **settings)
    lines = command.get_help(context).splitlines()
    yield words, "\n".join(line.rstrip() for line in lines)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _helps(below, (*words, name), context)


def settings_page() -> str:
    """Every setting with its variable, kind, default and help."""
    parts = ["# Settings", MADE, SETTINGS_HEAD]
    for section, struct in SECTIONS.items():
        title = f"`[{section}]`" if section else "At the top of the file"
        about = (struct.__doc__ or "").strip().removeprefix(f"`[{section}]`: ")
        about = about[:1].upper() + about[1:]
        head = "| setting | variable | value | default | |\n| --- | --- | --- | --- | --- |"
        lines = "\n".join(_line(row) for row in rows(section))
        parts.append(f"## {title}\n\n{about}\n\n{head}\n{lines}")
    return "\n\n".join(parts) + "\n"


def _line(row: Row) -> str:
    default = "" if row.default in ("", (), {}) or row.secret else f"`{toml_value(row.default)}`"
    cells = (f"`{row.name}`", f"`{row.variable}`", row.kind, default, row.help)
    return _row(*cells)


def commands_page() -> str:
    """Every command that may be said in a chat, and every setting that may be set there."""
    parts = ["# In the chat", MADE, COMMANDS_HEAD]
    for title, who in (
        ("For everybody who may talk", Who.ANYONE),
        ("For administrators", Who.ADMIN),
    ):
        declared = "\n".join(_command(c) for c in STANDARD.commands if c.who is who)
        parts.append(f"## {title}\n\n| command | also | |\n| --- | --- | --- |\n{declared}")
    head = "| setting | value | unless set | for | who sets it | |\n" + "| --- " * 6 + "|"
    lines = "\n".join(_chat_setting(setting) for setting in SETTINGS.values())
    parts.append(f"## Settings of the chat\n\n{CHAT_SETTINGS_HEAD}\n\n{head}\n{lines}")
    return "\n\n".join(parts) + "\n"


def _command(command: Command) -> str:
    also = " ".join(f"`!{alias}`" for alias in command.aliases)
    text = " ".join(part for part in (command.help, command.details) if part)
    if command.immediate and "at once" not in text:
        text += " It acts at once."
    return _row(f"`{command.usage}`", also, text)


def _chat_setting(setting: Setting) -> str:
    value = setting.default
    default = ("on" if value else "off") if isinstance(value, bool) else str(value or "")
    where = ["me" if kind == "user" else kind for kind in reversed(setting.scopes)]
    scopes = ", ".join("everywhere" if kind == "platform" else kind for kind in where)
    who = CHANGERS[setting.changer]
    return _row(
        f"`{setting.key}`", setting.allowed, default and f"`{default}`", scopes, who, setting.help
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(args: Sequence[str]) -> int:
    """Writes the pages, or checks them. Returns the exit code."""
    check = "--check" in args
    folders = [Path(arg) for arg in args if arg != "--check"] or [Path("docs")]
    if len(folders) > 1 or not folders[0].is_dir():
        click.echo("antiphon: Give one folder, such as docs.", err=True)
        return EXIT_USAGE
    stale = False
    for name, text in pages().items():
        path = folders[0] / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            click.echo(f"antiphon: {path} is not up to date. Run `make docs`.", err=True)
            stale = True
    return EXIT_FAILED if stale else EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
