"""The composition root of the agent service: builds the parts, listens, and stops in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
    async with AsyncExitStack() as stack:
        stack.enter_context(StateLock.acquire(state, "agent", what="An agent"))
        stopping = stack.enter_context(_signals(stop))
        url = database_url(settings.database, state, "agent.db")
        database = await Database.open(url, MIGRATIONS)
        stack.push_async_callback(database.close)
        engines = registry(settings, state)
        stack.push_async_callback(engines.close)
        await _check(engines)
        stack.enter_context(_bare_errors())
        parts = _Parts(
            group=await stack.enter_async_context(asyncio.TaskGroup()),
            database=database,
            engines=engines,
            tools={tool.spec.name: tool for tool in (default_tools() if tools is None else tools)},
            settings=settings,
            clock=clock or SystemClock(),
            chance=chance or SystemChance(),
        )
        server = await stack.enter_async_context(_listening(parts.front(tokens), settings))
        resumed = await parts.supervisor.resume_all()
        await server.start_serving()
        telemetry.logger("agent").info("agent ready", url=_url(server), resumed=resumed)
        if ready is not None:
            ready(_url(server))
        await stopping.wait()
        parts.service.stopping = True
        await parts.supervisor.stop()
    telemetry.logger("agent").info("agent stopped")


class _Parts:
    """The parts of one service, built from what they need."""

    def __init__(
        self,
        *,
        group: asyncio.TaskGroup,
        database: Database,
        engines: EngineRegistry,
        tools: dict[str, Tool],
        settings: AgentSettings,
        clock: Clock,
        chance: Chance,
    ):
        hub = Hub()
        self._engines = engines
        self._chance = chance
        self.supervisor = Supervisor(
            group=group,
            hub=hub,
            database=database,
            registry=engines,
            tools=tools,
            clock=clock,
            chance=chance,
        )
        self.service = Service(
            hub=hub,
            database=database,
            supervisor=self.supervisor,
            registry=engines,
            tools=tools,
            settings=settings,
            clock=clock,
        )

    def front(self, tokens: Tokens) -> Front:
        """The port that serves them."""
        return Front(
            service=self.service,
            registry=self._engines,
            tokens=tokens,
            chance=self._chance,
            version=version("antiphon"),
        )


@contextmanager
def _bare_errors() -> Iterator[None]:
    """Lets the one error that ended a task group out as itself."""
    try:
        yield
    except ExceptionGroup as group:
        first: Exception = group
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        raise first from group


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
