"""What `antiphon init` needs to know: gathered from flags, or by asking a person.

Asking goes through a small port, so that the questions can be tested without a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec

from antiphon.adapter.matrix.transport import address
from antiphon.demo.models import models
from antiphon.errors import SettingsError
from antiphon.settings import Secret

_FULL_ID = re.compile(r"@[^\s:]+:[^\s]+")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags say; None and empty: not said."""

    homeserver: str | None = None
    user: str | None = None
    password: Secret | None = None
    access_token: Secret | None = None
    allow: tuple[str, ...] = ()
    admins: tuple[str, ...] = ()
    model: str | None = None
    base_url: str | None = None
    api_key: Secret | None = None


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """All that a first settings file holds, checked for its form."""

    homeserver: str
    user: str
    password: Secret | None
    access_token: Secret | None
    allow: tuple[str, ...]
    admins: tuple[str, ...]
    model: str
    base_url: str
    api_key: Secret | None

    def values(self) -> dict[tuple[str, str], Any]:
        """The settings to write, by (section, name)."""
        all_of = {
            ("matrix", "homeserver"): self.homeserver,
            ("matrix", "user"): self.user,
            ("matrix", "password"): self.password,
            ("matrix", "access_token"): self.access_token,
            ("matrix", "allow"): self.allow,
            ("matrix", "admins"): self.admins,
            ("agent", "model"): self.model,
            ("agent", "base_url"): self.base_url,
            ("agent", "api_key"): self.api_key,
        }
        return {key: value for key, value in all_of.items() if value}


class Ask(Protocol):
    """How a person is asked."""

    def text(self, question: str, default: str = "") -> str: ...

    def secret(self, question: str) -> Secret: ...

    def say(self, text: str) -> None: ...


class Terminal:
    """Asks on the terminal."""

    def text(self, question: str, default: str = "") -> str:
        answer: str = click.prompt(question, default=default or None, type=str)
        return answer.strip()

    def secret(self, question: str) -> Secret:
        return Secret(click.prompt(question, hide_input=True, type=str))

    def say(self, text: str) -> None:
        click.echo(text)


def complete(given: Given, ask: Ask | None) -> Complete:
    """Fills what is missing by asking, or by defaults where there is nobody to `ask`.

    Raises SettingsError naming the flags that are missing, or a value that can't be right."""
    if ask is None:
        _nothing_missing(given)
    homeserver = given.homeserver
    if homeserver is None:
        assert ask is not None
        ask.say("A bot needs an account of its own on a Matrix homeserver.")
        homeserver = ask.text("Homeserver (URL, or a name such as example.org)")
    address.base_url(homeserver)
    user = given.user
    if user is None:
        assert ask is not None
        user = ask.text("The bot's account (such as @bot:example.org)")
    password = given.password
    if password is None and given.access_token is None:
        assert ask is not None
        password = ask.secret(f"Password of {user}")
    allow = given.allow
    if not allow:
        assert ask is not None
        allow = ids([ask.text("Your own Matrix ID (who may invite the bot and talk to it)")])
    admins = given.admins
    if not admins and ask is not None:
        persons = [entry for entry in allow if _FULL_ID.fullmatch(entry) and "*" not in entry]
        admins = (
            ids([ask.text("Who may use admin commands", default=persons[0])]) if persons else ()
        )
    check_patterns((*allow, *admins))
    model, base_url, api_key = _model(given, ask)
    return Complete(
        homeserver=homeserver.strip(),
        user=user.strip(),
        password=password,
        access_token=given.access_token,
        allow=allow,
        admins=admins,
        model=model,
        base_url=base_url,
        api_key=api_key,
    )


def _nothing_missing(given: Given) -> None:
    missing = [
        flag
        for flag, there in (
            ("--homeserver", given.homeserver),
            ("--user", given.user),
            ("--password-file", given.password or given.access_token),
            ("--allow", given.allow),
        )
        if not there
    ]
    if missing:
        raise SettingsError(
            f"There is nobody to ask, and {', '.join(missing)} is missing. "
            "Give the flags, or run `antiphon init` in a terminal."
        )


def _model(given: Given, ask: Ask | None) -> tuple[str, str, Secret | None]:
    name = given.model
    if name is None:
        name = "offline"
        if ask is not None:
            ask.say("Which model answers?")
            for model in models():
                note = "" if model.usable else f" (not installed: needs {model.missing})"
                ask.say(f"  {model.name:12} {model.what}{note}")
            name = ask.text("Model", default="offline")
    base_url, api_key = given.base_url or "", given.api_key
    if ask is not None and ":" in name and given.model is None:
        if name.startswith("openai:") and not base_url:
            base_url = ask.text("Base URL of the server", default="https://api.openai.com/v1")
        if api_key is None:
            api_key = ask.secret("Key of the provider (any text if it needs none)")
    if base_url and not re.match(r"https?://[^\s/]+", base_url):
        raise SettingsError(f"The base URL {base_url!r} must begin with https:// or http://.")
    return name, base_url, api_key


def ids(values: Sequence[str]) -> tuple[str, ...]:
    """Matrix IDs and globs, given one by one or with commas between them."""
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def check_patterns(entries: Sequence[str]) -> None:
    """Raises SettingsError for what is neither a Matrix ID nor a glob of such."""
    for entry in entries:
        if entry != "*" and not _FULL_ID.fullmatch(entry):
            raise SettingsError(
                f"{entry!r} is no Matrix ID. Write @name:server, a glob such as @*:example.org, "
                "or * for everybody."
            )


def one_secret(
    password_file: Path | None, password_stdin: bool, access_token_file: Path | None
) -> Secret | None:
    """The password from the one place that was named. Raises SettingsError for two of them."""
    if sum((password_file is not None, password_stdin, access_token_file is not None)) > 1:
        raise SettingsError(
            "Give one of --password-file, --password-stdin and --access-token-file, not several."
        )
    if password_stdin:
        return _secret(sys.stdin.readline(), "standard input")
    return secret_file(password_file)


def secret_file(path: Path | None) -> Secret | None:
    """The secret in a file, without the line end. Raises SettingsError when there is none."""
    if path is None:
        return None
    try:
        return _secret(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SettingsError(f"Can't read {path}: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is no text file.") from None


def _secret(text: str, where: str) -> Secret:
    stripped = text.strip("\r\n")
    if not stripped or "\n" in stripped:
        raise SettingsError(f"There must be exactly one line with the secret in {where}.")
    return Secret(stripped)
