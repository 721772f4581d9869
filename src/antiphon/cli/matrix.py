"""`antiphon matrix run` and `antiphon matrix reconcile`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from antiphon.cli.matrix_backup import backup, restore
from antiphon.cli.matrix_doctor import doctor
from antiphon.cli.matrix_provision import provision
from antiphon.cli.matrix_recovery import recovery_key
from antiphon.cli.matrix_reset import reset
from antiphon.cli.matrix_verify import verify
from antiphon.cli.options import Options, prepare
from antiphon.cli.service import announce, run_service
from antiphon.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from antiphon.adapter.matrix.report import Report
    from antiphon.settings import (
        AgentSettings,
        ChatFileSettings,
        General,
        MasterSettings,
        MatrixSettings,
    )


@click.group()
def matrix() -> None:
    """The Matrix adapter: one bot account, its rooms and what it owes them."""


matrix.add_command(provision)
matrix.add_command(backup)
matrix.add_command(restore)
matrix.add_command(reset)
matrix.add_command(recovery_key)
matrix.add_command(verify)


@matrix.command("run")
@click.pass_obj
def run_adapter(options: Options) -> None:
    """Answer in Matrix rooms until stopped; prints `ready URL`.

    The URL is that of the operations port with /health and /metrics."""
    general, own, agent, chat, master = _settings(options)

    from antiphon.adapter.matrix.app import run

    async def serve(stop: asyncio.Event) -> None:
        await run(general, own, agent, chat=chat, master=master, ready=announce, stop=stop)

    run_service(serve)


@matrix.command()
@click.option("--dry-run", is_flag=True, help="Say what there is to do, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for the homeserver, and then for the work.",
)
@click.pass_obj
def reconcile(options: Options, dry_run: bool, as_json: bool, wait_s: float) -> int:
    """Compare rooms and journal, finish what is owed, print a report, and end.

    Every start of the adapter does the same; this is for doing it without staying. Adopts and
    closes rooms, decides invites, reads back what was missed, finishes what was begun and answers
    what waits. No adapter may run meanwhile (--dry-run: it may). Exit code 1 when something stays
    owed: the report says what, and a later run takes it up."""
    general, own, agent, chat, master = _settings(options)
    if dry_run:
        from antiphon.adapter.matrix.preview import preview
        from antiphon.clock import SystemClock

        _print(asyncio.run(preview(general, own, SystemClock())), as_json)
        return EXIT_OK

    from antiphon.adapter.matrix.app import run

    reports: list[Report] = []

    async def work(stop: asyncio.Event) -> None:
        report = await run(
            general, own, agent, chat=chat, master=master, stop=stop, until_idle=wait_s
        )
        if report is not None:
            reports.append(report)

    run_service(work)
    for report in reports:
        _print(report, as_json)
    whole = any(report.left is not None and report.left.nothing for report in reports)
    return EXIT_OK if whole else EXIT_FAILED


matrix.add_command(doctor)


def _print(report: Report, as_json: bool) -> None:
    click.echo(report.as_json().decode() if as_json else "\n".join(report.lines()))


def _settings(
    options: Options,
) -> tuple[General, MatrixSettings, AgentSettings, ChatFileSettings, MasterSettings]:
    """What the adapter reads: its own section, the addresses of the agent and of the control plane,
    and what applies to chats."""
    source, general = prepare(options, "matrix")

    from antiphon.cli.options import master_of
    from antiphon.settings import AgentSettings, ChatFileSettings, MatrixSettings, section

    own = section(source, "matrix", MatrixSettings)
    agent = section(source, "agent", AgentSettings, only=("url", "token"))
    chat = section(source, "chat", ChatFileSettings)
    return general, own, agent, chat, master_of(source)
