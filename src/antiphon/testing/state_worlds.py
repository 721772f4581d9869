"""The worlds in which every implementation of `sdk.state.State` is tested: where its rows lie, and
a way to open it again as another process would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from antiphon.clock import SystemChance, SystemClock
from antiphon.sdk.prototype_state import LocalState
from antiphon.sdk.state import State
from antiphon.testing.databases import Kind, fresh_database
from antiphon.testing.memory_state import memory_state
from antiphon.testing.postgres import PostgresServer
from antiphon.testing.remote_worlds import remote_world

SURFACE = "matrix"

Server = Callable[[], PostgresServer]


class StateWorld(Protocol):
    """Something that keeps users and chats. What is opened is closed when the world ends."""

    async def open(self, surface: str = SURFACE, base: Mapping[str, Any] | None = None) -> State:
        """The state as one more process of a surface sees it; `base`: its settings file."""
        ...


World = Callable[[Path, Server], AbstractAsyncContextManager[StateWorld]]


class LocalWorld:
    """One database, opened by each caller anew."""

    def __init__(self, url: str):
        self.url = url
        self.opened: list[LocalState] = []

    async def open(
        self, surface: str = SURFACE, base: Mapping[str, Any] | None = None
    ) -> LocalState:
        state = await LocalState.open(
            self.url,
            clock=SystemClock(),
            chance=SystemChance(),
            surface=surface,
            base=base or {},
        )
        self.opened.append(state)
        return state


class MemoryWorld:
    """What the fake platform keeps. There is one of it for each surface and settings file."""

    def __init__(self) -> None:
        self._rows = memory_state(clock=SystemClock())

    async def open(
        self, surface: str = SURFACE, base: Mapping[str, Any] | None = None
    ) -> LocalState:
        return self._rows.another(surface, base or {})


def _local(kind: Kind) -> World:
    @asynccontextmanager
    async def world(folder: Path, server: Server) -> AsyncIterator[StateWorld]:
        with fresh_database(kind, folder, server, "state") as url:
            made = LocalWorld(url)
            try:
                yield made
            finally:
                for state in made.opened:
                    await state.close()

    return world


@asynccontextmanager
async def _memory(_folder: Path, _server: Server) -> AsyncIterator[StateWorld]:
    yield MemoryWorld()


WORLDS: Mapping[str, World] = {
    "memory": _memory,
    "sqlite": _local("sqlite"),
    "postgres": _local("postgres"),
    "remote": remote_world,
}
