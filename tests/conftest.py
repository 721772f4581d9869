"""Fixtures that every test may ask for: the real homeserver, started once per run and only when a
test wants it. Whatever needs it carries the marker `live`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.homeserver import FakeHomeserver

_LIVE = {"synapse", "synapse_limited"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as `live` whatever asks for a Synapse, directly or through another fixture."""
    for item in items:
        if _LIVE.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """A real Synapse without rate limits, shared by all tests: use users and rooms of your own
    (`antiphon.testing.live.live_user`), and leave it running."""
    yield from _running(Synapse(tmp_path_factory.mktemp("synapse"), rate_limits="lifted"))


@pytest.fixture(scope="session")
def synapse_limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """As `synapse`, with the rate limits of an unprepared homeserver."""
    yield from _running(Synapse(tmp_path_factory.mktemp("synapse-limited"), rate_limits="default"))


@pytest.fixture
async def homeserver() -> AsyncIterator[FakeHomeserver]:
    """A fake homeserver of this test's own, whose faults the test decides."""
    async with FakeHomeserver() as server:
        yield server


def _running(server: Synapse) -> Iterator[Synapse]:
    # Its methods need no loop of their own, so that every test's loop can use the one server.
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.stop())
