"""`antiphon agent serve`."""

from __future__ import annotations

import click

from antiphon.cli.options import Options, prepare
from antiphon.cli.service import announce, run_service


@click.group()
def agent() -> None:
    """The agent service: models, tools and the memory of each chat."""


@agent.command()
@click.pass_obj
def serve(options: Options) -> None:
    """Serve /agent_ws/ and /health until stopped; prints `ready URL`."""
    source, general = prepare(options, "agent")

    from antiphon.settings import AgentSettings, section

    own = section(source, "agent", AgentSettings)

    from antiphon.agent.app import serve as serve_agent

    run_service(lambda stop: serve_agent(general, own, ready=announce, stop=stop))
