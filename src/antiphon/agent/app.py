"""The composition root of the agent service: builds the parts, listens, and stops in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path

from websockets.asyncio.server import Server

from antiphon import telemetry
from antiphon.agent.auth import Tokens
from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.registry import make_registry
from antiphon.agent.front import Front
from antiphon.agent.hub import Hub
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.service import Service
from antiphon.agent.store import MIGRATIONS
from antiphon.agent.supervisor import Supervisor
from antiphon.agent.tools.port import Tool
from antiphon.agent.tools.registry import default_tools
from antiphon.clock import Chance, Clock, SystemChance, SystemClock
from antiphon.db import Database, StateLock, database_url
from antiphon.settings import AgentSettings, General

MakeRegistry = Callable[[AgentSettings, Path], EngineRegistry]


async def serve(
    general: General,
    settings: AgentSettings,
    *,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    registry: MakeRegistry = make_registry,
    tools: tuple[Tool, ...] | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
) -> None:
    """Serves until `stop` is set (None: until SIGTERM or SIGINT).

    Calls `ready` with the address (`ws://HOST:PORT/agent_ws/`) once it listens and has taken up
    what an earlier process left. Runs that are not over when it stops go on at the next start.
    `registry`, `tools`, `clock` and `chance` are there for tests. Raises SettingsError (no token,
    a port in use, a model that can't work), StateInUseError, SchemaTooNewError, DatabaseError."""
    tokens = Tokens(settings)
    state = general.state_path()
    clock, chance = clock or SystemClock(), chance or SystemChance()
    by_name = {tool.spec.name: tool for tool in (default_tools() if tools is None else tools)}
    with StateLock.acquire(state, "agent", what="An agent"), _signals(stop) as stopping:
        database = await Database.open(
            database_url(settings.database, state, "agent.db"), MIGRATIONS
        )
        try:
            engines = registry(settings, state)
            try:
                await _check(engines)
                async with asyncio.TaskGroup() as group:
                    hub = Hub()
                    supervisor = Supervisor(
                        group=group,
                        hub=hub,
                        database=database,
                        registry=engines,
                        tools=by_name,
                        clock=clock,
                        chance=chance,
                    )
                    service = Service(
                        hub=hub,
                        database=database,
                        supervisor=supervisor,
                        registry=engines,
                        tools=by_name,
                        settings=settings,
                        clock=clock,
                    )
                    front = Front(
                        service=service,
                        registry=engines,
                        tokens=tokens,
                        chance=chance,
                        version=version("antiphon"),
                    )
                    async with _listening(front, settings) as server:
                        resumed = await supervisor.resume_all()
                        url = _url(server)
                        telemetry.logger("agent").info("agent ready", url=url, resumed=resumed)
                        if ready is not None:
                            ready(url)
                        await stopping.wait()
                        service.stopping = True
                        await supervisor.stop()
            finally:
                await engines.close()
        finally:
            await database.close()
    telemetry.logger("agent").info("agent stopped")


async def _check(engines: EngineRegistry) -> None:
    """Refuses to start with a model that can't work; one that can't be reached now may later."""
    try:
        await engines.check()
    except EngineError as error:
        telemetry.logger("agent").warning("model not available", error=error.message)


@asynccontextmanager
async def _listening(front: Front, settings: AgentSettings) -> AsyncIterator[Server]:
    server = await front.listen(settings.host, settings.port)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


def _url(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"ws://{shown}:{port}/agent_ws/"


@contextmanager
def _signals(stop: asyncio.Event | None) -> Iterator[asyncio.Event]:
    """`stop`, or an event that SIGTERM and SIGINT set while the block runs."""
    if stop is not None:
        yield stop
        return
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield stopping
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
