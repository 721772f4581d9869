"""`antiphon matrix backup` and `antiphon matrix restore`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiphon.cli.options import Options, path_option, prepare
from antiphon.errors import EXIT_FAILED, EXIT_OK, AgentUnreachableError, SettingsError

if TYPE_CHECKING:
    from antiphon.adapter.matrix.backup.plan import Plan, Result
    from antiphon.settings import General, MatrixSettings, Source


@click.command()
@path_option("--to", help="Where to write it; by default STATE_DIR/backups/matrix-TIME.backup.")
@click.option("--without-memory", is_flag=True, help="Leave out what the agent remembers.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_obj
def backup(options: Options, to: Path | None, without_memory: bool, as_json: bool) -> int:
    """Write the bot's state and its chats' memories into one file.

    May be run while the adapter runs. The memories are the agent's: where the settings name its
    address it must run, too; else it is started for as long as this takes. No login, token or key
    is in the file; everything that was said to the bot and by it may be: keep it as you keep the
    state folder. An existing file is never replaced."""
    from antiphon.adapter.matrix.app import known_account
    from antiphon.adapter.matrix.backup import BackupReport, write_backup
    from antiphon.adapter.matrix.backup.write import nothing
    from antiphon.cli.agent_beside import agent_beside
    from antiphon.settings import AgentSettings

    source, general, own = _settings(options)

    async def write() -> BackupReport:
        if await known_account(own, general.state_path()) is None:
            raise nothing(general.state_path())
        if without_memory:
            return await write_backup(general, own, AgentSettings(), to, memory=False)
        try:
            async with agent_beside(source, general) as agent:
                return await write_backup(general, own, agent, to, memory=True)
        except AgentUnreachableError as error:
            raise AgentUnreachableError(
                f"{error.message} Start the agent, or leave them out with --without-memory."
            ) from error

    report = asyncio.run(write())
    click.echo(report.as_json().decode() if as_json else "\n".join(report.lines()))
    return EXIT_OK


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--no-backup", is_flag=True, help="Don't back up what is here before.")
@click.option("--json", "as_json", is_flag=True, help="Print plan and result as one JSON object.")
@click.pass_obj
def restore(
    options: Options, file: Path, dry_run: bool, yes: bool, no_backup: bool, as_json: bool
) -> int:
    """Make the bot what it was when a backup was written.

    Replaces the journal and the local state. Memories that the agent has stay; those that are gone
    there come back from the file. The login and the keys here are kept, never rewound. The next
    start looks into the rooms before it sends, so that nothing is said twice.

    No adapter may run meanwhile. The agent must, where the settings name its address; else it is
    started for as long as this takes. What is here is written into a backup of its own before, and
    the result says how to undo. Interrupted, it is finished by running it again."""
    from antiphon.adapter.matrix.backup import restore as work
    from antiphon.adapter.matrix.backup.plan import as_json as plan_json
    from antiphon.cli.agent_beside import agent_beside

    file = file.expanduser()
    source, general, own = _settings(options)
    if dry_run:
        plan = asyncio.run(_looked(source, general, own, file))
        lines = [*plan.lines(), "Nothing was changed."]
        text = plan_json(plan, done=False, file=str(file)).decode()
        click.echo(text if as_json else "\n".join(lines))
        return EXIT_OK
    if not yes and not sys.stdin.isatty():
        raise SettingsError(
            "A restore replaces the bot's state, and there is no terminal to ask on. Give --yes, "
            "or --dry-run to see what it would do."
        )

    def agreed(plan: Plan) -> bool:
        if not as_json:
            click.echo("\n".join(plan.lines()))
        return yes or click.confirm("Restore it?", default=False, err=as_json)

    async def replace() -> Result | None:
        work.check(general, file)
        async with agent_beside(source, general) as agent:
            return await work.restore(
                general, own, agent, file, agreed=agreed, backup_first=not no_backup
            )

    result = asyncio.run(replace())
    if result is None:
        click.echo("Nothing was changed.", err=as_json)
        return EXIT_FAILED
    click.echo(result.as_json().decode() if as_json else "\n".join(result.lines()))
    return EXIT_OK


async def _looked(source: Source, general: General, own: MatrixSettings, file: Path) -> Plan:
    """The plan. No agent is started for it: a dry run changes nothing."""
    from antiphon.adapter.matrix.backup import restore as work
    from antiphon.run import pair
    from antiphon.settings import AgentSettings, section

    agent = section(source, "agent", AgentSettings, only=("url", "token"))
    if not agent.url:
        agent = pair.arranged(general.state_path()) or agent
    return await work.preview(general, own, agent, file)


def _settings(options: Options) -> tuple[Source, General, MatrixSettings]:
    source, general = prepare(options, "matrix")

    from antiphon.cli.options import master_of
    from antiphon.settings import MatrixSettings, section

    master = master_of(source)
    if master.url:
        raise SettingsError(
            f"The control plane at {master.url} keeps this bot's chats and settings, and a backup "
            "of the bot alone would not fit them. Back up the control plane's database where it "
            "runs, and this state folder while the adapter is stopped."
        )
    return source, general, section(source, "matrix", MatrixSettings)
