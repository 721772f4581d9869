"""`antiphon matrix doctor`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING

import click

from antiphon.cli.options import Options, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from antiphon.adapter.matrix.doctor.finding import Diagnosis, Finding
    from antiphon.settings import AgentSettings, Source

COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}
WIDEST = 110


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--no-model", is_flag=True, help="Ask the model nothing.")
@click.pass_obj
def doctor(options: Options, as_json: bool, no_model: bool) -> int:
    """Look whether everything that the bot needs is there, and say what to do where it is not.

    Settings, disk, databases, homeserver, login, rate limits, rooms, agent, and one short answer
    of the model, whose thread is erased afterwards. It may be run at any time, beside a running
    adapter too, and changes nothing: no file, no device, no room. Exit code 0 when all is ok, 1
    with warnings, 2 with failures."""
    from antiphon.adapter.matrix.doctor import lines
    from antiphon.errors import SettingsError

    show = _Screen(as_json)
    try:
        diagnosis = asyncio.run(_diagnose(options, show, with_model=not no_model))
    except SettingsError as error:
        # Settings that can't be read at all: nothing else can be looked at.
        diagnosis = _unreadable(error)
        show(diagnosis.findings[0])
    if as_json:
        from importlib.metadata import version

        click.echo(diagnosis.as_json(version("antiphon")).decode())
    else:
        click.echo(lines.summary(diagnosis))
    return diagnosis.exit_code


async def _diagnose(options: Options, show: _Screen, *, with_model: bool) -> Diagnosis:
    source, general = prepare(options, "doctor")

    from antiphon import telemetry
    from antiphon.adapter.matrix.doctor.patient import Patient
    from antiphon.adapter.matrix.doctor.platform import opener
    from antiphon.adapter.matrix.doctor.run import diagnose
    from antiphon.cli.options import master_of
    from antiphon.clock import SystemChance, SystemClock
    from antiphon.settings import MatrixSettings, section

    if general.log_level != "debug":
        # What the log would say of lost connections stands in the findings.
        telemetry.configure("error", general.log_format, process="doctor")
    matrix = section(source, "matrix", MatrixSettings)
    agent = _agent(source, general.state_path())
    clock, chance = SystemClock(), SystemChance()
    patient = Patient(
        general=general,
        matrix=matrix,
        settings_file=source.path,
        clock=clock,
        chance=chance,
        platform=None if agent is None else opener(general, agent, clock, chance),
        with_model=with_model,
        master=master_of(source),
    )
    return await diagnose(patient, show)


def _agent(source: Source, state: Path) -> AgentSettings | None:
    """How the agent is reached: by the settings, or as a running `antiphon run` has arranged it;
    None where there is neither."""
    from antiphon.db.lock import holder
    from antiphon.run import pair
    from antiphon.settings import AgentSettings, section

    agent = section(source, "agent", AgentSettings, only=("url", "token"))
    if agent.url or holder(state, "run") is None:
        return agent if agent.url else None
    return pair.arranged(state)


def _unreadable(error: Exception) -> Diagnosis:
    from antiphon.adapter.matrix.doctor.configured import INIT
    from antiphon.adapter.matrix.doctor.finding import Diagnosis, failure

    return Diagnosis((failure("settings", str(error), f"Correct that setting. {INIT}"),))


class _Screen:
    """Prints findings as they come; nothing where the whole is printed as JSON."""

    def __init__(self, as_json: bool):
        self._silent = as_json
        terminal = sys.stdout.isatty()
        self._width = min(WIDEST, shutil.get_terminal_size().columns) if terminal else None
        self._colour = terminal and not os.environ.get("NO_COLOR")

    def __call__(self, finding: Finding) -> None:
        if self._silent:
            return
        from antiphon.adapter.matrix.doctor.lines import lines

        first, *more = lines(finding, self._width)
        if self._colour:
            level = finding.level
            first = click.style(level, fg=COLOURS[level]) + first.removeprefix(level)
        click.echo("\n".join([first, *more]))
