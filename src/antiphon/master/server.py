"""uvicorn under our own roof: our socket, our signals, our log; it says when it listens, and ends
in order when it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from antiphon.errors import SettingsError
from antiphon.master.front import App

GRACE_S = 10
"""Seconds that running requests have to end when the service stops."""
BACKLOG = 256
IDLE_S = 75
"""Seconds that a connection may stay without a request."""
MOST_AT_ONCE = 2_000
"""Most connections and running requests; above, new ones get 503."""


class _Server(uvicorn.Server):
    """Leaves signals to the process, and tells when it listens."""

    def __init__(self, config: uvicorn.Config):
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises SettingsError where it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By the protocol's number asyncio knows that it is TCP, and sends each answer at once: without
    # that a body waits for the acknowledgement of its headers, 20 to 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
    except (OSError, UnicodeError) as error:
        taken.close()
        reason = error.strerror if isinstance(error, OSError) else "no address"
        raise SettingsError(
            f"Can't listen on {host} port {port}: {reason}. Set [master] host and port."
        ) from error
    return taken


def url_of(taken: socket.socket) -> str:
    """The address of a socket, as a surface is told it."""
    host, port = taken.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@asynccontextmanager
async def serving(app: App, taken: socket.socket) -> AsyncIterator[None]:
    """Serves `app` on the socket while the block runs; then lets running requests end."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        limit_concurrency=MOST_AT_ONCE,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.serve(sockets=[taken]))
        waiting = group.create_task(server.listening.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield
        finally:
            waiting.cancel()
            server.should_exit = True
