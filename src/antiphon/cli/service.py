"""Runs an async service until a signal asks it to stop; every long-running command uses it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import click

from antiphon.cli import memory


def run_service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `serve(stop)` to its end. SIGTERM and SIGINT set `stop`, and the service then ends by
    itself, which is success; a second SIGINT interrupts it at once."""
    memory.lean()
    asyncio.run(_run(serve))


async def _run(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def interrupt() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        await serve(stop)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)


def announce(url: str) -> None:
    """`ready URL` on standard output: what supervisors and scripts wait for."""
    click.echo(f"ready {url}")
