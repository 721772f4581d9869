"""`antiphon init`: asks for what a bot account needs, or takes it from flags, and writes it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from antiphon.cli.options import Options, path_option


@click.command()
@click.option("--homeserver", metavar="URL", help="Base URL, or a server name such as example.org.")
@click.option("--user", metavar="ID", help="The bot's account, such as @bot:example.org.")
@path_option("--password-file", help="File with the account's password.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@path_option("--access-token-file", help="File with an access token, instead of a password.")
@click.option(
    "--allow",
    multiple=True,
    metavar="ID",
    help="Who may invite and talk: a Matrix ID, a glob (@*:example.org) or `*`. Repeatable.",
)
@click.option(
    "--admins", multiple=True, metavar="ID", help="Who may use admin commands. Repeatable."
)
@click.option("--model", metavar="NAME", help="offline, local, openai:NAME, PROVIDER:NAME.")
@click.option("--base-url", metavar="URL", help="Base URL of an OpenAI-compatible server.")
@path_option("--api-key-file", help="File with the key of the model's provider.")
@click.option("--yes", is_flag=True, help="Ask nothing: flags and defaults.")
@click.option("--no-check", is_flag=True, help="Don't try the homeserver and the login.")
@click.option("--force", is_flag=True, help="Replace a settings file that is there already.")
@path_option("--output", help="Where to write; by default --config, else ./antiphon.toml.")
@click.pass_obj
def init(
    options: Options,
    homeserver: str | None,
    user: str | None,
    password_file: Path | None,
    password_stdin: bool,
    access_token_file: Path | None,
    allow: tuple[str, ...],
    admins: tuple[str, ...],
    model: str | None,
    base_url: str | None,
    api_key_file: Path | None,
    yes: bool,
    no_check: bool,
    force: bool,
    output: Path | None,
) -> None:
    """Write the settings for a bot account on your own homeserver.

    Asks on a terminal for what the flags leave open. Secrets are asked for, or read from files
    or standard input; they are no flags, where other users of the machine could see them."""
    from antiphon import settings
    from antiphon.cli import answers
    from antiphon.run import settings_file

    path = output or options.config or Path(settings.FILE_NAME)
    if path.exists() and not force:
        raise settings_file.exists(path)
    given = answers.Given(
        homeserver=homeserver,
        user=user,
        password=answers.one_secret(password_file, password_stdin, access_token_file),
        access_token=answers.secret_file(access_token_file),
        allow=answers.ids(allow),
        admins=answers.ids(admins),
        model=model,
        base_url=base_url,
        api_key=answers.secret_file(api_key_file),
    )
    may_ask = not yes and not password_stdin and sys.stdin.isatty()
    complete = answers.complete(given, answers.Terminal() if may_ask else None)
    if not no_check:
        from antiphon.cli.login_check import check_login

        click.echo(asyncio.run(check_login(complete)))
    settings_file.write_private(path, settings_file.settings_text(complete.values()), force=force)
    elsewhere = "" if path == Path(settings.FILE_NAME) else f" --config {path}"
    click.echo(
        f"Wrote {path} (readable by you alone).\n"
        f"Next: `antiphon{elsewhere} run`, then invite {complete.user} into a room and say hello."
    )
