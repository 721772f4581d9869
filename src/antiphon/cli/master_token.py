"""`antiphon master token make|list|revoke`: who may use the control plane."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiphon.cli.master_extra import master_settings
from antiphon.cli.options import Options, path_option
from antiphon.errors import SettingsError

if TYPE_CHECKING:
    from antiphon.records.tokens import TokenRecord

SHOWN = """\
The token {token_id} of {whose}, for {scopes}:

    {token}

It is shown this once, and only its hash is kept. A surface takes it as ANTIPHON_MASTER__TOKEN."""


@click.group()
def token() -> None:
    """Tokens: who may use the control plane, and for what. It may be serving meanwhile."""


@token.command()
@click.option(
    "--surface", required=True, help="Whose it is, such as `matrix`; `*`: an operator's, for all."
)
@click.option(
    "--scopes",
    default="",
    metavar="A,B",
    help="What it may: chats, settings, users, usage, erase, export (these unless named), "
    "platform, audit.",
)
@click.option("--note", default="", help="A line that `list` shows.")
@path_option("--file", help="Write the token into this new file (0600) instead of showing it.")
@click.option("--json", "as_json", is_flag=True, help="Print token and id as a JSON object.")
@click.pass_obj
def make(
    options: Options, surface: str, scopes: str, note: str, file: Path | None, as_json: bool
) -> None:
    """Make a token. It is shown on a terminal, written to a file or printed as JSON, once."""
    general, settings = master_settings(options)

    from antiphon.clock import SystemChance, SystemClock
    from antiphon.db import private_file
    from antiphon.master import tokens
    from antiphon.master.scopes import OF_A_SURFACE

    if file is not None and file.exists():
        raise SettingsError(f"{file} is there already. Name a new file.")
    if file is None and not as_json and not sys.stdout.isatty():
        raise SettingsError(
            "A token is shown on a terminal only, and this is none. Give --file or --json."
        )
    named = tuple(filter(None, (scope.strip() for scope in scopes.split(",")))) or OF_A_SURFACE

    async def work() -> tuple[TokenRecord, str]:
        async with tokens.open_database(general, settings) as database:
            clock, chance = SystemClock(), SystemChance()
            return await tokens.make(
                database, surface=surface, scopes=named, note=note, clock=clock, chance=chance
            )

    row, made = asyncio.run(work())
    if file is not None:
        private_file.write(file, f"{made}\n".encode())
    if as_json:
        _print_json(
            {"token_id": row.token_id} if file else {"token_id": row.token_id, "token": made}
        )
        return
    whose = "an operator" if row.surface == "*" else f"the surface {row.surface}"
    scoped = ", ".join(row.scopes)
    if file is not None:
        click.echo(f"The token {row.token_id} of {whose}, for {scoped}, is in {file}.")
        return
    click.echo(SHOWN.format(token_id=row.token_id, whose=whose, scopes=scoped, token=made))


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print them as a JSON array.")
@click.pass_obj
def list_(options: Options, as_json: bool) -> None:
    """List the tokens, revoked ones too; the tokens themselves nobody knows."""
    general, settings = master_settings(options)

    from antiphon.master import tokens

    async def work() -> tuple[TokenRecord, ...]:
        async with tokens.open_database(general, settings) as database:
            return await tokens.all_of(database)

    found = asyncio.run(work())
    if as_json:
        _print_json(found)
        return
    if not found:
        click.echo("There is no token. Make one with `antiphon master token make`.")
    for row in found:
        state = f"revoked {_day(row.revoked_ms)}" if row.revoked_ms else "valid"
        note = f"  {row.note}" if row.note else ""
        click.echo(
            f"{row.token_id}  {row.surface}  {','.join(row.scopes)}  "
            f"made {_day(row.created_ms)}  {state}{note}"
        )


@token.command()
@click.argument("token_id")
@click.pass_obj
def revoke(options: Options, token_id: str) -> None:
    """Revoke a token by its id, for ever. A control plane that is serving refuses it within a
    second."""
    general, settings = master_settings(options)

    from antiphon.clock import SystemClock
    from antiphon.master import tokens

    async def work() -> TokenRecord:
        async with tokens.open_database(general, settings) as database:
            return await tokens.revoke(database, token_id, clock=SystemClock())

    row = asyncio.run(work())
    click.echo(f"The token {row.token_id} of {row.surface} is revoked.")


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
