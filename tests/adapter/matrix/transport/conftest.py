"""A homeserver of either kind, so that the fake one can't drift from the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_world import World


@pytest.fixture(params=["fake", pytest.param("synapse", marks=pytest.mark.live)])
def either_homeserver(request: pytest.FixtureRequest) -> FakeHomeserver | Synapse:
    if request.param == "fake":
        return FakeHomeserver()
    found = request.getfixturevalue("synapse")
    assert isinstance(found, Synapse)
    return found


@pytest.fixture
async def world(either_homeserver: FakeHomeserver | Synapse) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if isinstance(either_homeserver, FakeHomeserver):
            await stack.enter_async_context(either_homeserver)
        yield World(either_homeserver, stack)
