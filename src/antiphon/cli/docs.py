"""Writes `docs/cli.md` and `docs/settings.md` from the commands and the table of settings.

`python -m antiphon.cli.docs [--check] [FOLDER]`: with `--check` it changes nothing, and fails
where a page is not what it would write. No command imports this."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from antiphon.cli.app import antiphon
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

MADE = "<!-- Made by `make docs` from the source; changes here are overwritten. -->"
WIDTH = 90


def pages() -> dict[str, str]:
    """The generated pages: file name to text."""
    return {"cli.md": cli_page(), "settings.md": settings_page()}


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
