"""The demo put together: homeserver, accounts, agent, adapter, a person, and their chat.

The composition root of the `antiphon demo` process. Whatever ends it (the chat's end, Ctrl-C, an
error) ends every process that it started; kill -9 does so too, as each child watches for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TextIO

import msgspec

from antiphon.adapter.matrix.ciphers import cipher_of
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.terminal.lines import Lines
from antiphon.clock import SystemChance, SystemClock
from antiphon.db import StateLock
from antiphon.demo import models
from antiphon.demo.chat import Chat
from antiphon.demo.folder import BOT, PERSON, DemoFolder
from antiphon.demo.person import Person
from antiphon.demo.screen import Screen
from antiphon.demo.synapse import Synapse
from antiphon.errors import EXIT_OK, PlatformError
from antiphon.run import pair
from antiphon.run.child import Child, ChildSpec
from antiphon.run.policy import Backoff, ChildEndedError, Death
from antiphon.settings import AgentSettings, General, MatrixSettings, Source

READY_LIMIT_S = 60.0
FIRST_TRIES = 3


class Request(msgspec.Struct, frozen=True):
    """What the person asked for on the command line."""

    say: str | None = None
    model: str | None = None
    new_room: bool = False


async def run(request: Request, source: Source, general: General, agent: AgentSettings) -> int:
    """Runs the demo in `demo` below the state folder, to its end; gives the exit code."""
    chance = SystemChance()
    folder = DemoFolder(general.state_path() / "demo", chance)
    screen = Screen(sys.stdout, sys.stderr)
    with StateLock.acquire(folder.path, "demo", what="The demo"):
        folder.trim_log()
        model = models.choose(request.model, source, agent)
        between = pair.link(Source({}, None, {}), AgentSettings(), folder.path, chance)
        synapse = Synapse(folder.homeserver)
        config = folder.write_settings(
            general, agent, model=model, homeserver=synapse.url, server=synapse.server_name
        )
        env = _environment(os.environ)
        async with AsyncExitStack() as stack:
            # The agent needs no homeserver: it starts while Synapse does.
            answering = await stack.enter_async_context(
                _running(pair.agent_spec(config, env, between), folder.log, screen)
            )
            async with screen.step("Starting a homeserver"):
                await stack.enter_async_context(synapse)
                for name in (BOT, PERSON):
                    user = await synapse.register_user(name, folder.password(name))
                    await synapse.lift_rate_limit(user)
            config = folder.write_settings(
                general, agent, model=model, homeserver=synapse.url, server=synapse.server_name
            )
            adapting = await stack.enter_async_context(
                _running(pair.adapter_spec(config, env, between), folder.log, screen)
            )
            async with screen.step(f"Starting the agent ({model}) and the Matrix adapter"):
                person = await stack.enter_async_context(_person(synapse, folder))
                for child in (answering, adapting):
                    await _ready(child, folder.log)
            chat = Chat(person, folder, screen)
            room = await chat.enter(new_room=request.new_room)
            if request.say is not None:
                return await chat.say(request.say)
            screen.line(_welcome(synapse, folder, chat.room_name, room, model))
            async with Lines(sys.stdin.fileno(), gather=False) as lines:
                await chat.talk(lines)
            return EXIT_OK


@asynccontextmanager
async def _running(spec: ChildSpec, log: Path, screen: Screen) -> AsyncIterator[Child]:
    """A child process for as long as the block runs."""
    stop = asyncio.Event()

    def died(death: Death) -> None:
        why = death.error or f"exit code {death.exit_code}"
        screen.progress(f"The {death.child} ended ({why}); starting it again.")

    with _private(log) as out:
        child = Child(
            spec,
            log_line=lambda line: print(f"[{spec.name}] {line}", file=out),
            on_death=died,
            backoff=Backoff(first_tries=FIRST_TRIES),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(_kept(child, stop, log), name=spec.name)
            try:
                yield child
            finally:
                stop.set()


async def _kept(child: Child, stop: asyncio.Event, log: Path) -> None:
    try:
        await child.run(stop)
    except ChildEndedError as error:
        raise ChildEndedError(f"{error.message} Its log: {log}", error.exit_code) from error


def _private(log: Path) -> TextIO:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(fd, "a", encoding="utf-8", buffering=1)


async def _ready(child: Child, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_LIMIT_S):
            await child.ready.wait()
    except TimeoutError:
        raise PlatformError(
            f"The {child.spec.name} was not ready within {READY_LIMIT_S:.0f} s. "
            f"{child.sentence or f'Its log: {log}'}"
        ) from None


@asynccontextmanager
async def _person(synapse: Synapse, folder: DemoFolder) -> AsyncIterator[Person]:
    """The demo's user, logged in (on the device of last time) and listening."""
    account = MatrixSettings(
        homeserver=synapse.url,
        user=synapse.user_id(PERSON),
        password=folder.password(PERSON),
    )
    async with MatrixClient(synapse.url) as client:
        signed_in = await login.sign_in(client, account, login.load(folder.person))
        login.save(folder.person, signed_in)
        me, device, clock = signed_in.user_id, signed_in.device_id, SystemClock()
        async with cipher_of(account, folder.person, client, me, device, clock) as cipher:
            person = Person(
                client,
                me,
                synapse.user_id(BOT),
                clock=clock,
                chance=SystemChance(),
                cipher=cipher,
            )
            await person.begin()
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(person.listen(), name="listen")
                try:
                    yield person
                finally:
                    listening.cancel()


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The children's environment: what is Antiphon's in it was read already, and belongs to
    another bot."""
    return {key: value for key, value in env.items() if not key.startswith("ANTIPHON_")}


def _welcome(synapse: Synapse, folder: DemoFolder, name: str, room_id: str, model: str) -> str:
    return f"""
To look on with any Matrix client on this machine, log in with
  homeserver  {synapse.url}
  user        {synapse.user_id(PERSON)}
  password    {folder.password(PERSON).reveal()}
  room        {name} ({room_id})

{models.introduction(model)}
You are in {name}. /help shows what this terminal understands; Ctrl-C ends the demo.
"""
