"""`antiphon matrix recovery-key`: makes the bot's recovery key, or uses it on another machine."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from antiphon.cli.options import Options, prepare
from antiphon.errors import EXIT_FAILED, EXIT_OK, SettingsError

if TYPE_CHECKING:
    from antiphon.adapter.matrix.crypto.recovering import TakenBack
    from antiphon.settings import General, MatrixSettings

MOST_TYPED = 1000

SHOWN = """\
The recovery key of {user}:

    {key}

It is shown this once and kept nowhere: write it down, or put it into a password manager. With it
another machine, or another client of this account, gets the bot's identity and reads the encrypted
history (`antiphon matrix recovery-key --restore`). Whoever has it and the account's password can
do the same."""


@click.command("recovery-key")
@click.option("--new", is_flag=True, help="Make another key in the place of the one that there is.")
@click.option(
    "--restore",
    is_flag=True,
    help="Take identity and old sessions with a recovery key, asked for or from standard input.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --restore: print what was done as a JSON object."
)
@click.option("--yes", is_flag=True, help="With --new: do not ask.")
@click.pass_obj
def recovery_key(options: Options, new: bool, restore: bool, as_json: bool, yes: bool) -> int:
    """Make the recovery key of the bot's encryption, or use it on another machine.

    Making one puts the bot's identity and the key of its key backup on the homeserver, encrypted
    under the recovery key, which is shown once, on a terminal only. From then on the adapter keeps
    the key backup up. --restore does the opposite on a machine without the bot's keys: signs its
    device and reads the backup, so that old messages can be read. The key is never an argument. No
    adapter may run meanwhile. Exit code 1 when this device could not be signed."""
    if restore and new:
        raise SettingsError("Give --new or --restore, not both.")
    if as_json and not restore:
        raise SettingsError("--json goes with --restore: a new key is shown on a terminal only.")
    source, general = prepare(options, "matrix")

    from antiphon import telemetry
    from antiphon.settings import MatrixSettings, section

    telemetry.configure("warning", general.log_format, process="matrix")
    matrix = section(source, "matrix", MatrixSettings)
    if restore:
        found = asyncio.run(_restore(general, matrix, _typed()))
        _report(found, as_json)
        return EXIT_OK if found.device_signed else EXIT_FAILED
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SettingsError(
            "A recovery key is shown on a terminal only, and this is none. Run this command by "
            "hand, such as with `ssh -t` or `podman exec -it`."
        )
    if new and not yes and not click.confirm("The old recovery key will open nothing. Go on?"):
        click.echo("Nothing was changed.", err=True)
        return EXIT_FAILED
    sessions = asyncio.run(_set_up(general, matrix, anew=new))
    click.echo(f"The key backup has {sessions} sessions now.")
    return EXIT_OK


async def _set_up(general: General, matrix: MatrixSettings, *, anew: bool) -> int:
    from antiphon.adapter.matrix.recover import open_recovery

    async with open_recovery(general, matrix) as recovering:
        key = await recovering.set_up(anew=anew)
        click.echo(SHOWN.format(user=recovering.user_id, key=key))  # before anything can fail
        return await recovering.back_up()


async def _restore(general: General, matrix: MatrixSettings, typed: str) -> TakenBack:
    from antiphon.adapter.matrix.recover import open_recovery

    async with open_recovery(general, matrix) as recovering:
        return await recovering.restore(typed)


def _typed() -> str:
    """The key, typed without being shown, or all of standard input where that is no terminal."""
    if sys.stdin.isatty():
        return str(click.prompt("Recovery key", hide_input=True, err=True))
    return sys.stdin.read(MOST_TYPED)


def _report(found: TakenBack, as_json: bool) -> None:
    import msgspec

    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    signed = "is signed by the account's identity" if found.device_signed else "is not signed yet"
    click.echo(f"The device {found.device_id} of {found.user_id} {signed}.")
    if not found.backup:
        click.echo("There is no key of a backup under this recovery key: old messages stay closed.")
        return
    sessions = found.sessions
    damaged = f", {sessions.failed} of them damaged" if sessions.failed else ""
    click.echo(
        f"The key backup has {sessions.total} sessions{damaged}; {sessions.new} were new here."
    )
