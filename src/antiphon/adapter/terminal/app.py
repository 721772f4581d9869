"""The terminal put together: the composition root of `antiphon chat`, over an agent that is there
(the one that the settings name, or one that the command has started)."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from antiphon.adapter.terminal.desk import NOT_SHOWN, SURFACE, Desk
from antiphon.adapter.terminal.journal import Journal
from antiphon.adapter.terminal.lines import Lines
from antiphon.adapter.terminal.once import Once
from antiphon.adapter.terminal.screen import Screen
from antiphon.adapter.terminal.talk import HINT, Talk
from antiphon.clock import Clock, SystemChance, SystemClock
from antiphon.core.access import AllowList
from antiphon.core.chat_settings import SETTINGS
from antiphon.core.commands import STANDARD
from antiphon.core.ids import UserId
from antiphon.core.roles import Access
from antiphon.errors import AgentRefusedError, AgentUnreachableError, PlatformError
from antiphon.sdk.commander import Commander, Surface
from antiphon.sdk.interface import Platform
from antiphon.sdk.real import open_platform
from antiphon.settings import AgentSettings, ChatFileSettings, General, MasterSettings

EXIT_SIGNAL = 128
START_S, RETRY_S = 5.0, 0.5
"""Seconds for which an agent that does not answer at the start is waited for, and between tries."""


class Request(msgspec.Struct, frozen=True):
    """What was asked for on the command line. `model`: in place of what the settings say."""

    say: str | None = None
    model: str | None = None
    new: bool = False
    as_json: bool = False


async def run(
    request: Request,
    general: General,
    agent: AgentSettings,
    chat: ChatFileSettings,
    master: MasterSettings,
    *,
    answer_timeout_s: float,
) -> int:
    """Talks to its end, or says one thing; gives the exit code. `general.state_dir` is the
    terminal's own folder, whose lock the caller holds; `master`: the control plane, where one is
    set. Raises SettingsError, StateError, and AgentRefusedError and MasterRefusedError where they
    do not accept our token."""
    clock, chance = SystemClock(), SystemChance()
    plain, still = "NO_COLOR" in os.environ, os.environ.get("TERM") == "dumb"
    screen = Screen(sys.stdout, sys.stderr, plain=plain, still=still)
    journal = Journal(general.state_path())
    async with open_platform(
        general,
        agent,
        answer_timeout_s=answer_timeout_s,
        surface=SURFACE,
        clock=clock,
        chance=chance,
        chat=chat,
        master=master,
    ) as platform:
        me = person()
        access = Access(admins=AllowList((me,)))
        catalogue = STANDARD.without("allow", "deny")
        surface = Surface(
            SURFACE,
            shared=False,
            catalogue=catalogue,
            settings=frozenset(SETTINGS) - NOT_SHOWN,
        )
        commander = Commander(platform, lambda: access, clock, surface)
        desk = Desk(
            me,
            platform,
            commander,
            access,
            catalogue,
            journal,
            clock=clock,
            chance=chance,
            model=request.model,
        )
        fd = sys.stdin.fileno()
        interactive = request.say is None and screen.is_terminal and os.isatty(fd)
        away = await _away(platform, clock)
        if away and not interactive and not desk.is_command(request.say or ""):
            raise AgentUnreachableError(away)
        if not away:
            await desk.pay()
        if request.new:
            await desk.command("!new")
        if request.say is not None:
            once = Once(desk, screen, as_json=request.as_json)
            return await _stoppable(once.say(request.say.strip()), once)
        if interactive:
            screen.remark(f"{away} I keep trying." if away else await _welcome(platform))
        return await _talk(desk, screen, fd, interactive=interactive, history=not away)


async def _away(platform: Platform, clock: Clock) -> str:
    """Why the agent can't be had, after a while of trying; empty: it can. Raises AgentRefusedError
    where it does not accept our token."""
    until = clock.monotonic() + START_S
    while True:
        health = await platform.check()
        if health.ok:
            return ""
        if health.code == AgentRefusedError.code:
            raise AgentRefusedError(health.detail)
        if clock.monotonic() >= until:
            return health.detail
        await clock.sleep(RETRY_S)


async def _talk(desk: Desk, screen: Screen, fd: int, *, interactive: bool, history: bool) -> int:
    talk = Talk(desk, screen, interactive=interactive)
    loop = asyncio.get_running_loop()
    if interactive:
        loop.add_signal_handler(signal.SIGINT, talk.interrupt)
    try:
        async with Lines(fd, gather=interactive) as lines:
            if interactive and history:
                await talk.show_history()
            await talk.finish_open()
            return await talk.talk(lines)
    finally:
        if interactive:
            loop.remove_signal_handler(signal.SIGINT)


async def _stoppable(saying: Coroutine[Any, Any, int], once: Once) -> int:
    """Ctrl-C stops the answer; what there is of it is told, and the exit code is 130."""
    loop, got = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, got.set)

    async def stop() -> None:
        await got.wait()
        await once.interrupt()

    stopping = asyncio.create_task(stop())
    try:
        code = await saying
    finally:
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
        loop.remove_signal_handler(signal.SIGINT)
    return EXIT_SIGNAL + signal.SIGINT if got.is_set() else code


async def _welcome(platform: Platform) -> str:
    try:
        model = next(iter(await platform.models()), "The agent")
    except AgentRefusedError:
        raise
    except PlatformError:
        model = "The agent"
    return f"{model} answers. !help shows what you can say. {HINT}\n"


def person() -> UserId:
    """The id of who sits at the terminal: by the name of the login, as a Matrix ID is written."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    plain = re.sub(r"[^a-z0-9._=/-]", "", name.lower())[:64]
    return UserId(f"@{plain or 'you'}:terminal")
