"""`antiphon matrix provision`: an account for the bot on a Synapse, and its settings file."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiphon.cli.options import Options, path_option

if TYPE_CHECKING:
    from antiphon.adapter.matrix.provision import Outcome
    from antiphon.cli.kept_account import KeptAccount
    from antiphon.settings import Secret


@click.command()
@click.option("--homeserver", required=True, metavar="URL", help="Base URL, or a server name.")
@click.option("--user", required=True, metavar="ID", help="The account: @antiphon:example.org.")
@path_option("--admin-token-file", help="File with an administrator's access token; - is stdin.")
@path_option(
    "--shared-secret-file", help="File with Synapse's registration_shared_secret; - is stdin."
)
@click.option(
    "--admin-url",
    default="",
    metavar="URL",
    help="Where the admin API is reached, if not at --homeserver (such as http://127.0.0.1:8008).",
)
@path_option(
    "--password-file",
    help="Keep the password here and not in antiphon.toml; one that is there is used.",
)
@path_option(
    "--access-token-file",
    help="File with the account's own token, where accounts are made elsewhere.",
)
@click.option("--new-password", is_flag=True, help="Give an account that is there another one.")
@click.option("--display-name", default="", metavar="NAME", help="The bot's display name.")
@click.option(
    "--allow",
    multiple=True,
    metavar="ID",
    help="Who may invite and talk: a Matrix ID, a glob (@*:example.org) or `*`. Repeatable.",
)
@click.option(
    "--admins", multiple=True, metavar="ID", help="Who may use admin commands. Repeatable."
)
@click.option("--model", default="", metavar="NAME", help="offline, local, openai:NAME, …")
@path_option("--state-dir", help="The bot's state folder, for the settings file.")
@path_option("--config-out", help="Settings file; by default --config, else ./antiphon.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON object.")
@click.pass_obj
def provision(
    options: Options,
    homeserver: str,
    user: str,
    admin_token_file: Path | None,
    shared_secret_file: Path | None,
    admin_url: str,
    password_file: Path | None,
    access_token_file: Path | None,
    new_password: bool,
    display_name: str,
    allow: tuple[str, ...],
    admins: tuple[str, ...],
    model: str,
    state_dir: Path | None,
    config_out: Path | None,
    as_json: bool,
) -> None:
    """Make the bot's account on a Synapse, lift its rate limit, write its settings.

    By an administrator's access token, or by the registration shared secret (which can't lift the
    limit). The password is random and stands in the settings file alone (mode 0600). What is there
    already stays as it is: run again, it changes nothing; cut off, the next run goes on. Exit code
    1: try again later; 2: something must be changed first, also where Matrix Authentication
    Service makes the accounts (the error says how)."""
    from antiphon import settings
    from antiphon.adapter.matrix.provision import Wanted, check_user_id
    from antiphon.adapter.matrix.provision import provision as make
    from antiphon.adapter.matrix.transport import address
    from antiphon.cli import answers
    from antiphon.cli.kept_account import KeptAccount
    from antiphon.clock import SystemChance
    from antiphon.errors import HomeserverUnreachableError, RateLimitedError, SettingsError

    check_user_id(user)
    for url in filter(None, (homeserver, admin_url)):
        address.base_url(url)
    if password_file is not None and access_token_file is not None:
        raise SettingsError("Give --password-file or --access-token-file, not both.")
    allowed, administering = answers.ids(allow), answers.ids(admins)
    answers.check_patterns((*allowed, *administering))
    values = {
        ("", "state_dir"): str(state_dir.absolute()) if state_dir else "",
        ("matrix", "homeserver"): homeserver.strip(),
        ("matrix", "user"): user,
        ("matrix", "access_token"): answers.secret_file(access_token_file),
        ("matrix", "allow"): allowed,
        ("matrix", "admins"): administering,
        ("matrix", "display_name"): display_name,
        ("agent", "model"): model,
    }
    kept = KeptAccount(
        config_out or options.config or Path(settings.FILE_NAME),
        {key: value for key, value in values.items() if value},
        password_file=password_file,
        env=os.environ,
    )
    secret_files = (
        *(admin_token_file, shared_secret_file, access_token_file, password_file),
        kept.path if password_file is None else None,
    )
    wide = [
        f"others can read {path}. Run `chmod 600 {path}`."
        for path in secret_files
        if path is not None and _is_wide(path)
    ]
    admin_token, shared_secret = _means(admin_token_file, shared_secret_file)
    wanted = Wanted(
        homeserver=homeserver,
        user_id=user,
        admin_url=admin_url,
        display_name=display_name,
        new_password=new_password,
        admin_token=admin_token,
        shared_secret=shared_secret,
    )
    try:
        outcome = asyncio.run(make(wanted, kept, SystemChance()))
    except (HomeserverUnreachableError, RateLimitedError) as error:
        if kept.is_written:
            error.message += f" {kept.path} is written; run the same command again to go on."
        raise
    _report(outcome, kept, wide, bool(allowed), as_json)


def _means(token: Path | None, shared: Path | None) -> tuple[Secret | None, Secret | None]:
    """The administrator's token and the shared secret, from the files or standard input."""
    from antiphon.errors import SettingsError

    if token is not None and shared is not None:
        raise SettingsError("Give --admin-token-file or --shared-secret-file, not both.")
    return _secret(token, "Access token of an administrator"), _secret(shared, "Shared secret")


def _secret(path: Path | None, what: str) -> Secret | None:
    from antiphon.cli import answers
    from antiphon.settings import Secret

    if path is None or str(path) != "-":
        return answers.secret_file(path)
    if sys.stdin.isatty():
        return Secret(click.prompt(what, hide_input=True, type=str))
    return answers.one_secret(None, True, None)


def _is_wide(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def _report(
    outcome: Outcome, kept: KeptAccount, wide: list[str], may_talk: bool, as_json: bool
) -> None:
    import msgspec

    warnings = [*wide, *outcome.warnings]
    changed = outcome.account != "there" or outcome.rate_limit == "lifted" or kept.is_written
    if as_json:
        result = {
            "user_id": outcome.user_id,
            "account": outcome.account,
            "rate_limit": outcome.rate_limit,
            "settings": str(kept.path),
            "settings_written": kept.is_written,
            "changed": changed,
            "warnings": warnings,
        }
        click.echo(msgspec.json.encode(result).decode())
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(_ACCOUNT[outcome.account].format(user=outcome.user_id))
    click.echo(_RATE_LIMIT[outcome.rate_limit])
    if kept.is_written:
        click.echo(f"Wrote {kept.path} (readable by you alone).")
        if not may_talk:
            click.echo("Nobody may talk to it yet: set [matrix] allow there.")
    else:
        click.echo(f"{kept.path} is there already and stays as it is.")
    if not changed:
        click.echo("Nothing had to be changed.")
    click.echo(f"Next: `{_next(kept)}`, then invite {outcome.user_id} into a room and say hello.")


def _next(kept: KeptAccount) -> str:
    from antiphon.settings import FILE_NAME

    variable = f"ANTIPHON_MATRIX__PASSWORD_FILE={kept.password_file} " if kept.password_file else ""
    elsewhere = "" if kept.path == Path(FILE_NAME) else f"--config {kept.path} "
    return f"{variable}antiphon {elsewhere}run"


_ACCOUNT = {
    "made": "Made the account {user}.",
    "there": "{user} is there, and its login works.",
    "new_password": "Gave {user} a new password; its devices stay logged in.",
}
_RATE_LIMIT = {
    "lifted": "Lifted its rate limit.",
    "was_lifted": "Its rate limit is lifted already.",
    "left": "Its rate limit was left as it is: only an administrator can lift it. By Synapse's "
    "defaults the bot sends 10 messages or edits, then one in 5 s; with --admin-token-file this "
    "command lifts that.",
}
