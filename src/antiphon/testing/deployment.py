"""Reads what is in `deploy/`: systemd units, the Containerfile and compose.yaml, as plain values,
and what documentation says to type, so that tests can hold both to the program.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from antiphon.settings import SECTIONS, is_secret, variable_name
from antiphon.testing.crash_points import SOURCE

DEPLOY = SOURCE.parents[1] / "deploy"
VARIABLE = re.compile(r"ANTIPHON_[A-Z][A-Z0-9_]*[A-Z0-9]")
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_BEFORE = re.compile(r"^\s*(?:\$ )?(?:sudo (?:-u \S+ )?)?(?:env )?(?:[A-Z_]+=\S* )*")
_PROGRAM = re.compile(r"(?:[\w./-]*/)?antiphon")


class Unit:
    """A systemd unit: the values of each directive, in order."""

    def __init__(self, text: str):
        """Raises ValueError for a line that is no directive of a section."""
        self.values: dict[str, list[str]] = {}
        section = ""
        for number, line in enumerate(text.splitlines(), 1):
            if re.fullmatch(r"\[(Unit|Service|Install)\]", line):
                section = line[1:-1]
            elif line.strip() and not line.startswith("#"):
                name, equals, value = line.partition("=")
                if not (section and equals and re.fullmatch(r"[A-Z]\w+", name)):
                    raise ValueError(f"line {number} is no directive: {line!r}")
                self.values.setdefault(f"{section}.{name}", []).append(value)

    def one(self, name: str) -> str:
        """The value of a directive that stands there once."""
        (value,) = self.values[name]
        return value

    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        pairs = (value.partition("=") for value in self.values.get("Service.Environment", []))
        return {name: value for name, _, value in pairs}

    def credentials(self) -> dict[str, str]:
        """The credentials that it loads, and from which files."""
        pairs = (value.partition(":") for value in self.values.get("Service.LoadCredential", []))
        return {name: path for name, _, path in pairs}


class Stage(msgspec.Struct):
    """One stage of a Containerfile, with what it has from the stage it is built on."""

    env: dict[str, str]
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    """Sources that are copied from the project."""


def stages(text: str) -> dict[str, Stage]:
    """The named stages. Raises ValueError where a command is not in exec form."""
    found: dict[str, Stage] = {}
    now = Stage({})
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        word, _, rest = line.partition(" ")
        match word:
            case "FROM":
                base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
                before = found.get(base, Stage({}))
                now = found[name] = msgspec.structs.replace(before, env=dict(before.env))
            case "ENV":
                pairs = (pair.partition("=") for pair in shlex.split(rest))
                now.env.update({name: value for name, _, value in pairs})
            case "USER":
                now.user = rest
            case "VOLUME":
                now.volumes = _exec_form(rest)
            case "ENTRYPOINT":
                now.entrypoint = _exec_form(rest)
            case "CMD":
                now.command = _exec_form(rest)
            case "HEALTHCHECK":
                now.health = _exec_form(rest.partition("CMD ")[2].strip())
            case "COPY" if not rest.startswith("--from"):
                now.copied = (*now.copied, *rest.split()[:-1])
    return found


def _exec_form(text: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.convert(json.loads(text), tuple[str, ...]))
    except (json.JSONDecodeError, msgspec.ValidationError):
        raise ValueError(f"not in exec form: {text}") from None


def known_variables() -> set[str]:
    """Every variable that sets a setting, and the `_FILE` form of secrets."""
    known = set()
    for section, struct in SECTIONS.items():
        for field in msgspec.structs.fields(struct):
            name = variable_name(section, field.name)
            known |= {name, f"{name}_FILE"} if _hides(field.type) else {name}
    return known


def _hides(hint: Any) -> bool:
    return is_secret(getattr(hint, "__origin__", hint)) or is_secret(hint)


def typed_commands(page: str) -> Iterator[tuple[str, ...]]:
    """What a page of documentation says to type, from the word `antiphon` on."""
    blocks = _FENCE.findall(page)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *_CODE.findall(_FENCE.sub("", page))]:
        typed = re.sub(r"\s#\s.*| [|<>] .*", "", _BEFORE.sub("", line))
        program, *words = typed.split() or [""]
        if _PROGRAM.fullmatch(program) and words:
            yield tuple(words)


def unknown_words(root: click.Group, words: Sequence[str]) -> list[str]:
    """What in a command line (as people write it in a text, with parts left out) names no command
    and no option. Values are not looked at."""
    command: click.Command = root
    options = set(_options(root))
    wrong = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            name = word.partition("=")[0].strip("[].,")
            if name not in options:
                wrong.append(word)
            skip = isinstance(command, click.Group) and _takes_value(command, name)
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            below = command.commands.get(word)
            if below is None:
                return [*wrong, word]
            command = below
            options |= set(_options(below))
    return wrong


def _options(command: click.Command) -> Iterator[str]:
    yield from ("--help", "-h")
    for parameter in command.params:
        yield from parameter.opts


def _takes_value(command: click.Command, name: str) -> bool:
    return any(
        name in p.opts and isinstance(p, click.Option) and not p.is_flag for p in command.params
    )


def parses(root: click.Group, words: Sequence[str]) -> None:
    """Parses a whole command line without running it. Raises click.UsageError."""
    command: click.Command = root
    name, rest = "antiphon", list(words)
    parent: click.Context | None = None
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not isinstance(command, click.Group):
            return
        found, below, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert below is not None
        name, command, parent = found or "", below, context


def substituted(text: str, replacements: Mapping[str, str]) -> str:
    """The text with each key replaced by its value; what was put in is not looked at again."""
    keys = "|".join(map(re.escape, sorted(replacements, key=len, reverse=True)))
    return re.sub(keys, lambda found: replacements[found[0]], text)


def pages(root: Path) -> list[Path]:
    """The pages of documentation that say what to do (decisions say what was done)."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]
