"""`antiphon matrix reset`: shows the plan, asks, and does it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiphon.cli.agent_beside import agent_beside
from antiphon.cli.options import Options, prepare
from antiphon.errors import EXIT_FAILED, EXIT_OK, SettingsError

if TYPE_CHECKING:
    from antiphon.adapter.matrix.reset.plan import Options as ResetOptions
    from antiphon.adapter.matrix.reset.plan import Plan
    from antiphon.adapter.matrix.reset.result import Result
    from antiphon.settings import AgentSettings, General, MatrixSettings

MODES = ("local-only", "server-leave-forget")


@click.command()
@click.option(
    "--mode",
    type=click.Choice(MODES),
    required=True,
    help="Forget here and stay in the rooms, or leave and forget the rooms, too.",
)
@click.option(
    "--room", "rooms", multiple=True, metavar="ROOM", help="Only this room ID (repeatable)."
)
@click.option("--dry-run", is_flag=True, help="Show the plan, and change nothing anywhere.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print plan and result as one JSON object.")
@click.option(
    "--keep-memory",
    is_flag=True,
    help="Leave the agent's record of the conversations; it is never used again.",
)
@click.option("--include-device", is_flag=True, help="Log the device out, too.")
@click.option("--no-backup", is_flag=True, help="Write no backup first.")
@click.option(
    "--stop-running", is_flag=True, help="Ask an adapter that runs on this state to stop, and wait."
)
@click.pass_obj
def reset(
    options: Options,
    mode: str,
    rooms: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    keep_memory: bool,
    include_device: bool,
    no_backup: bool,
    stop_running: bool,
) -> int:
    """Begin anew, on purpose; no restart ever needs this.

    local-only forgets chats, sessions and turns here: the bot stays in its rooms, answers what is
    said from now on, and knows nothing of before. server-leave-forget also declines invitations,
    leaves every room and forgets it on the homeserver. Shows the plan and asks before anything is
    changed, writes a backup, and can be cut off and run again. Exit code 1 when something is left
    to do or you said no, 2 when nothing could be done."""
    source, general = prepare(options, "matrix")

    from antiphon import telemetry
    from antiphon.adapter.matrix.reset import app, apply, text
    from antiphon.adapter.matrix.reset.plan import Mode
    from antiphon.adapter.matrix.reset.plan import Options as Wanted
    from antiphon.cli.options import master_of
    from antiphon.core.ids import RoomId
    from antiphon.settings import MatrixSettings, section

    telemetry.configure("warning", general.log_format, process="matrix")
    matrix, master = section(source, "matrix", MatrixSettings), master_of(source)
    if master.url and not dry_run and not no_backup:
        raise SettingsError(
            f"The control plane at {master.url} keeps the chats, so that no backup of them can be "
            "written here. Back that up where it runs, then give --no-backup."
        )
    wanted = Wanted(
        Mode(mode),
        tuple(RoomId(room) for room in dict.fromkeys(rooms)),
        keep_memory=keep_memory,
        include_device=include_device,
    )
    if dry_run:
        plan = asyncio.run(app.preview(general, matrix, wanted, master))
        click.echo(
            apply.plan_as_json(plan, None).decode() if as_json else "\n".join(text.plan_lines(plan))
        )
        return EXIT_OK
    if not yes and not sys.stdin.isatty():
        raise SettingsError(
            "A reset asks before it changes anything, and there is no terminal to ask on. Look at "
            "the plan with --dry-run, then give --yes."
        )

    async def work() -> tuple[Plan, Result] | None:
        async with agent_beside(source, general) as agent:
            terms = app.Terms(
                agreed=lambda plan: yes or _agreed(plan, wanted, backup=not no_backup),
                backup=None if no_backup else _backup(general, matrix, agent, wanted),
                say=lambda sentence: click.echo(sentence, err=True),
                progress=_progress,
                stop_running=stop_running,
            )
            return await app.reset(general, matrix, agent, wanted, terms, master)

    done = asyncio.run(work())
    if done is None:
        click.echo("Nothing was changed.", err=True)
        return EXIT_FAILED
    plan, result = done
    click.echo(
        apply.plan_as_json(plan, result).decode()
        if as_json
        else "\n".join(text.result_lines(result))
    )
    return EXIT_OK if result.whole else EXIT_FAILED


def _agreed(plan: Plan, wanted: ResetOptions, *, backup: bool) -> bool:
    """Shows the plan and asks; where rooms are left, the account's name must be typed."""
    from antiphon.adapter.matrix.reset import text

    for line in text.plan_lines(plan):
        click.echo(line, err=True)
    click.echo(
        "Before that, all of it is written into a backup." if backup else "No backup is written.",
        err=True,
    )
    if str(wanted.mode) == "local-only":
        return click.confirm("Forget this?", err=True)
    typed = click.prompt(
        f"This can't be taken back on the homeserver. Type {plan.user_id} to go on",
        default="",
        show_default=False,
        err=True,
    )
    return bool(typed.strip() == plan.user_id)


def _backup(
    general: General, matrix: MatrixSettings, agent: AgentSettings, wanted: ResetOptions
) -> Callable[[], Awaitable[Path]]:
    """Writes what there is now; without the memories where they stay at the agent."""
    from antiphon.adapter.matrix.backup import write_backup
    from antiphon.errors import AgentUnreachableError

    async def write() -> Path:
        try:
            report = await write_backup(general, matrix, agent, None, memory=not wanted.keep_memory)
        except AgentUnreachableError as error:
            raise AgentUnreachableError(
                f"{error.message} So its memories can't be backed up, and nothing was changed. "
                "Start the agent, or give --no-backup (what can't be erased there now is erased "
                "when it is back)."
            ) from error
        click.echo(f"Backup: {report.path}", err=True)
        return Path(report.path)

    return write


def _progress(done: int, total: int, left_s: float) -> None:
    """One line that is written over on a terminal; a line now and then elsewhere."""
    text = f"{done} of {total} rooms left, about {left_s:.0f} s to go"
    if sys.stderr.isatty():
        click.echo(f"\r{text}\x1b[K" + ("\n" if done == total else ""), nl=False, err=True)
    elif done == total or done % 25 == 0:
        click.echo(text, err=True)
