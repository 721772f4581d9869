"""The composition root of the control plane: builds the parts, listens, and stops in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from antiphon import telemetry
from antiphon.agent_api.client import AgentClient
from antiphon.clock import Chance, Clock, SystemChance, SystemClock
from antiphon.db import Database, StateLock
from antiphon.errors import SettingsError
from antiphon.master import tokens
from antiphon.master.auth import Gatekeeper
from antiphon.master.calls import Changes, Parts
from antiphon.master.eraser import Agent, AgentAtUrl, Eraser
from antiphon.master.front import Front
from antiphon.master.server import bound, serving, url_of
from antiphon.master.service import make_app
from antiphon.master.tokens import STORE
from antiphon.master.tokens import url_of as database_of
from antiphon.master.upkeep import keep_up
from antiphon.records.records import MIGRATIONS
from antiphon.settings import General, MasterSettings

NOBODY = (
    "The control plane has no token, so nobody could use it. Make one with `antiphon master token "
    "make --surface matrix`, or set ANTIPHON_MASTER__TOKEN."
)


async def serve(
    general: General,
    settings: MasterSettings,
    *,
    stop: asyncio.Event,
    ready: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    agent: Agent | None = None,
) -> None:
    """Serves until `stop` is set. Calls `ready` with the address once it listens.

    `clock`, `chance` and `agent` are there for tests. Raises SettingsError (no token, a port in
    use), StateInUseError, SchemaTooNewError, DatabaseError."""
    clock, chance = clock or SystemClock(), chance or SystemChance()
    state = general.state_path()
    async with AsyncExitStack() as stack:
        stack.enter_context(StateLock.acquire(state, "master", what="A control plane"))
        taken = stack.enter_context(bound(settings.host, settings.port))
        url = database_of(general, settings)
        database = await Database.open(url, MIGRATIONS, store=STORE)
        stack.push_async_callback(database.close)
        if not settings.token and not await tokens.all_of(database):
            raise SettingsError(NOBODY)
        agent = agent or await _agent(stack, settings, clock, chance)
        parts = Parts(
            database=database,
            clock=clock,
            chance=chance,
            changes=Changes(),
            debts=asyncio.Event(),
            paid=Changes(),
            has_agent=agent is not None,
            stopping=asyncio.Event(),
        )
        eraser = Eraser(database, agent, clock, parts.debts, parts.paid)
        gatekeeper = Gatekeeper(database, settings.token, clock)
        front = Front(make_app(parts), gatekeeper, clock, chance)
        async with serving(front, taken), asyncio.TaskGroup() as group:
            work = [
                group.create_task(eraser.run()),
                group.create_task(keep_up(database, settings, clock)),
            ]
            telemetry.logger("master").info("control plane ready", url=url_of(taken))
            if ready is not None:
                ready(url_of(taken))
            await stop.wait()
            parts.stopping.set()
            parts.changes.tell()
            parts.paid.tell()
            for task in work:
                task.cancel()
    telemetry.logger("master").info("control plane stopped")


async def _agent(
    stack: AsyncExitStack, settings: MasterSettings, clock: Clock, chance: Chance
) -> Agent | None:
    if not settings.agent_url:
        return None
    if not settings.agent_erase_token:
        raise SettingsError(
            "[master] agent_url needs agent_erase_token: the agent's token that may erase and "
            "nothing else ([agent] erase_token there)."
        )
    token = settings.agent_erase_token.reveal()
    client = AgentClient(settings.agent_url, token, clock=clock, chance=chance)
    return AgentAtUrl(await stack.enter_async_context(client))
