"""States over a control plane, for tests: each with records of its own, its work beside it, and its
connection, which can be led through a fault proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from antiphon.clock import Chance, Clock, SystemChance, SystemClock
from antiphon.sdk.remote_http import Http
from antiphon.sdk.remote_link import Limits
from antiphon.sdk.remote_state import RemoteState
from antiphon.testing.control_plane import ControlPlane
from antiphon.testing.platform import FakePlatform

LIMITS = Limits(backoff_s=0.02, backoff_max_s=0.1, refused_s=0.1, known_s=0.0)
"""For tests: quick to find a control plane again, and nothing is known without asking."""


class RemoteWorld:
    """A control plane and those who ask it. What is opened is closed when the world ends."""

    def __init__(self, plane: ControlPlane, folder: Path, stack: AsyncExitStack):
        self.plane = plane
        self._folder = folder
        self._stack = stack
        self._numbers = count(1)
        self.token = ""
        """What is sent in place of a surface's own token."""

    async def open(
        self,
        surface: str = "matrix",
        base: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        url: str = "",
        clock: Clock | None = None,
        chance: Chance | None = None,
        limits: Limits = LIMITS,
        roles_ttl_s: float = 300.0,
    ) -> RemoteState:
        """A state as one more process of a surface has it. `name`: of its folder (the same again:
        its next life); `url`: of what stands before the control plane."""
        return await self._stack.enter_async_context(
            remote_state(
                self._folder / (name or f"surface-{next(self._numbers)}"),
                url or self.plane.url,
                self.token or await self.plane.token(surface),
                surface=surface,
                base=base,
                clock=clock,
                chance=chance,
                limits=limits,
                roles_ttl_s=roles_ttl_s,
            )
        )


@asynccontextmanager
async def remote_state(
    folder: Path,
    url: str,
    token: str,
    *,
    surface: str = "matrix",
    base: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    limits: Limits = LIMITS,
    roles_ttl_s: float = 300.0,
) -> AsyncIterator[RemoteState]:
    """One life of a state whose records lie in `folder`, with its work beside it."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - a test may wait for the disk
    async with Http(url, token) as http:
        state = await RemoteState.open(
            f"sqlite:///{folder / 'control.db'}",
            http,
            surface=surface,
            clock=clock or SystemClock(),
            chance=chance or SystemChance(),
            base=base,
            roles_ttl_s=roles_ttl_s,
            limits=limits,
        )
        work = asyncio.create_task(state.work())
        try:
            yield state
        finally:
            work.cancel()
            await asyncio.wait([work])
            await state.close()
        if not work.cancelled():
            work.result()


@asynccontextmanager
async def remote_world(folder: Path, _server: Callable[[], Any]) -> AsyncIterator[RemoteWorld]:
    """The real service on a port, on SQLite."""
    async with ControlPlane(folder / "master") as plane, AsyncExitStack() as stack:
        yield RemoteWorld(plane, folder, stack)


async def settled(state: RemoteState, timeout_s: float = 10.0) -> None:
    """Waits until the control plane is there and knows everything."""
    async with asyncio.timeout(timeout_s):
        while True:
            health = await state.health()
            if health.ok and not health.waiting:
                return
            await asyncio.sleep(0.01)


async def away(state: RemoteState, timeout_s: float = 10.0) -> None:
    """Waits until it is seen that the control plane is away."""
    async with asyncio.timeout(timeout_s):
        while (await state.health()).ok:  # noqa: ASYNC110 - its word for it, no event
            await asyncio.sleep(0.01)


KEPT = ("local", "remote")
"""Who keeps users and chats in tests of surfaces that run over both."""


@asynccontextmanager
async def kept_by(kind: str, platform: FakePlatform, folder: Path) -> AsyncIterator[None]:
    """Lets a control plane keep what the fake platform keeps, where `kind` is `remote`."""
    if kind == "local":
        yield
        return
    async with remote_world(folder / "remote", lambda: None) as world:
        state: Any = await world.open()
        platform.state = state
        yield
