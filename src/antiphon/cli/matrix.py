"""`antiphon matrix run`."""

from __future__ import annotations

import click

from antiphon.cli.options import Options, prepare
from antiphon.cli.service import announce, run_service


@click.group()
def matrix() -> None:
    """The Matrix adapter: one bot account, its rooms and what it owes them."""


@matrix.command("run")
@click.pass_obj
def run_adapter(options: Options) -> None:
    """Answer in Matrix rooms until stopped; prints `ready URL`.

    The URL is that of the operations port with /health and /metrics."""
    source, general = prepare(options, "matrix")

    from antiphon.settings import AgentSettings, MatrixSettings, section

    own = section(source, "matrix", MatrixSettings)
    agent = section(source, "agent", AgentSettings, only=("url", "token"))

    from antiphon.adapter.matrix.app import run

    run_service(lambda stop: run(general, own, agent, ready=announce, stop=stop))
