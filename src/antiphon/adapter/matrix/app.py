"""The composition root of the Matrix adapter: lock, login, platform, then the service over them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

from antiphon.adapter.matrix.service import serve
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import UserId
from antiphon.db import StateLock
from antiphon.sdk.real import open_platform
from antiphon.settings import AgentSettings, General, MatrixSettings

SURFACE = "matrix"


async def run(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    *,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Runs the adapter until `stop` is set (or SIGTERM or SIGINT where `stop` is None).

    `ready` is called with the operations URL once the first sync is journalled. Raises
    SettingsError, StateError, LoginError, TokenRevokedError, HomeserverUnreachableError (only at
    start) and what the database raises."""
    state = general.state_path()
    clock, chance = SystemClock(), SystemChance()
    stop = stop or _stop_on_signals()
    async with AsyncExitStack() as stack:
        stack.enter_context(StateLock.acquire(state, SURFACE, what="A Matrix adapter"))
        client = await stack.enter_async_context(MatrixClient(matrix.homeserver))
        stored = login.load(state)
        signed_in = await login.sign_in(client, matrix, stored)
        if signed_in != stored:
            login.save(state, signed_in)
        platform = await stack.enter_async_context(
            open_platform(
                general,
                agent,
                surface=SURFACE,
                answer_timeout_s=matrix.answer_timeout_s,
                clock=clock,
                chance=chance,
            )
        )
        await serve(
            matrix,
            state,
            client,
            UserId(signed_in.user_id),
            signed_in.device_id,
            platform,
            clock,
            ready or (lambda _: None),
            stop,
        )


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
