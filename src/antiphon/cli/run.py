"""`antiphon run`: agent and adapter together."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from antiphon.cli.options import Options, prepare
from antiphon.cli.service import run_service


@click.command()
@click.pass_obj
def run(options: Options) -> None:
    """Run the agent and the Matrix adapter together, supervised.

    Each is a process of its own; one that dies is started again. The token between them is made
    by itself. Log lines of both go to standard error."""
    source, general = prepare(options, "run")

    from antiphon import settings
    from antiphon.clock import SystemChance
    from antiphon.db import StateLock
    from antiphon.run import pair
    from antiphon.run.child import Child
    from antiphon.run.together import run_together

    agent = settings.section(source, "agent", settings.AgentSettings)
    matrix = settings.section(source, "matrix", settings.MatrixSettings)
    state = general.state_path()
    env = dict(os.environ)
    if general.log_format == "auto":
        # The children write into our pipe and can't see that a person reads the log.
        env["ANTIPHON_LOG_FORMAT"] = "text" if sys.stderr.isatty() else "json"

    async def supervise(stop: asyncio.Event) -> None:
        with StateLock.acquire(state, "run", what="Antiphon"):
            between = pair.link(source, agent, state, SystemChance())
            children = [
                Child(spec, log_line=lambda line: click.echo(line, err=True))
                for spec in (
                    pair.agent_spec(source.path, env, between),
                    pair.adapter_spec(source.path, env, between),
                )
            ]

            def announce() -> None:
                click.echo(
                    f"ready: {matrix.user} answers with {agent.model} "
                    f"(agent {between.url}, operations {children[1].url})"
                )

            await run_together(children, stop=stop, on_ready=announce)

    run_service(supervise)
