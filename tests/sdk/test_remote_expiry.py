"""How long roles count without a word of the control plane, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.core.ids import UserId
from antiphon.core.people import Grant, Role
from antiphon.sdk.remote_state import RemoteState
from antiphon.testing.clock import FakeClock, settle
from antiphon.testing.remote_worlds import LIMITS, RemoteWorld, remote_state, remote_world

ANNA = UserId("@anna:x")
TTL_S = 300.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RemoteWorld]:
    async with remote_world(tmp_path, lambda: None) as world:
        state = await world.open()
        await state.set_role("@ada:x", Role.ADMIN, by=ANNA, request_id="1")
        yield world


async def gone(world: RemoteWorld, state: RemoteState, clock: FakeClock) -> None:
    await world.plane.stop()
    async with asyncio.timeout(10):
        while (await state.health()).ok:
            await clock.advance(0.01)
            await asyncio.sleep(0.01)


async def test_roles_that_nobody_confirms_count_no_more_and_count_again(
    world: RemoteWorld,
) -> None:
    """After `roles_ttl_s` the snapshot is not fresh: another version, and whoever waits is told."""
    clock = FakeClock()
    state = await world.open(clock=clock, roles_ttl_s=TTL_S)
    first = await state.rules()
    assert (first.fresh, first.grants) == (True, (Grant("@ada:x", Role.ADMIN),))
    await gone(world, state, clock)
    waiting = asyncio.ensure_future(state.rules_after(first.version))
    await clock.advance(TTL_S - 20)
    await settle()
    assert (await state.rules()).fresh
    assert not waiting.done()
    await clock.advance(21)
    expired = await asyncio.wait_for(waiting, 5)
    assert (expired.fresh, expired.grants) == (False, first.grants)
    assert expired.version != first.version
    waiting = asyncio.ensure_future(state.rules_after(expired.version))
    await world.plane.start()
    async with asyncio.timeout(10):
        while not waiting.done():
            await clock.advance(1)
            await asyncio.sleep(0.01)
    again = waiting.result()
    assert (again.fresh, again.version, again.grants) == (True, first.version, first.grants)


@pytest.mark.parametrize(
    ("later_s", "fresh"), [(TTL_S / 2, True), (TTL_S + 1, False), (-30.0, True), (-3600.0, False)]
)
async def test_the_time_of_the_last_word_survives_a_restart(
    world: RemoteWorld, tmp_path: Path, later_s: float, fresh: bool
) -> None:
    """Also where the clock was set back a little; set back far, nothing is known of how long ago it
    was."""
    token, folder, clock = await world.plane.token(), tmp_path / "here", FakeClock()
    async with remote_state(
        folder, world.plane.url, token, clock=clock, roles_ttl_s=TTL_S, limits=LIMITS
    ) as state:
        assert (await state.rules()).fresh
    await world.plane.stop()
    clock.step_wall(round(later_s * 1000))
    async with remote_state(
        folder, world.plane.url, token, clock=clock, roles_ttl_s=TTL_S, limits=LIMITS
    ) as state:
        rules = await state.rules()
        assert rules.fresh is fresh
        assert rules.grants == (Grant("@ada:x", Role.ADMIN),)
