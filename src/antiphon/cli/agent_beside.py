"""The agent for a command that needs it: the one that the settings name, the one that runs here, or
one that is started for as long as the command takes (where `antiphon run` would start it)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from antiphon.settings import AgentSettings, General, Source


@asynccontextmanager
async def agent_beside(source: Source, general: General) -> AsyncIterator[AgentSettings]:
    """How the agent is reached, for the block. Raises SettingsError where one runs here of which
    nothing is known, and (in a group) ChildEndedError where it can't be started."""
    from antiphon.clock import SystemChance
    from antiphon.db.lock import holder
    from antiphon.errors import SettingsError
    from antiphon.run import pair
    from antiphon.run.child import Child
    from antiphon.settings import AgentSettings, Secret, section

    named = section(source, "agent", AgentSettings, only=("url", "token"))
    state = general.state_path()
    if named.url:
        yield named
        return
    if holder(state, "agent") is not None:
        arranged = pair.arranged(state)
        if arranged is None:
            raise SettingsError(
                "An agent runs here, and how to reach it is not known. Set [agent] url and token."
            )
        yield arranged
        return
    full = section(source, "agent", AgentSettings)
    between = pair.link(source, full, state, SystemChance())
    child = Child(
        pair.agent_spec(source.path, dict(os.environ), between),
        log_line=lambda line: click.echo(line, err=True),
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(child.run(stop))
        ready = group.create_task(child.ready.wait())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if ready.done():
                token = between.token_file.read_text(encoding="utf-8").strip()
                yield AgentSettings(url=between.url, token=Secret(token))
        finally:
            ready.cancel()
            stop.set()
