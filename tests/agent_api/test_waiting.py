"""Waiting with a bound, on a clock that the test moves."""

import asyncio

import pytest

from antiphon.agent_api.waiting import Patience, within
from antiphon.testing.clock import FakeClock, settle


def a_future() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_patience_ends_when_nothing_was_touched_for_its_time() -> None:
    """A touch begins the time anew; the future is left alone."""
    clock = FakeClock()
    patience, never = Patience(clock, 10), a_future()
    waiting = asyncio.ensure_future(patience.wait(never))
    await settle()
    await clock.advance(9)
    patience.touch()
    await clock.advance(9)
    assert not waiting.done()
    await clock.advance(2)
    with pytest.raises(TimeoutError):
        await waiting
    assert not never.done()
    await patience.close()


async def test_one_timer_serves_many_waits() -> None:
    """A stream of results starts no timer for each."""
    clock = FakeClock()
    patience = Patience(clock, 10)
    for n in range(50):
        future = a_future()
        asyncio.get_running_loop().call_soon(future.set_result, str(n))
        assert await patience.wait(future) == str(n)
        patience.touch()
    assert clock.sleeping == 1
    await patience.close()


async def test_what_is_there_already_needs_no_patience() -> None:
    """A result that has arrived is given even when the time is over."""
    clock = FakeClock()
    patience, done = Patience(clock, 10), a_future()
    done.set_result("x")
    await clock.advance(100)
    assert await patience.wait(done) == "x"
    await patience.close()


async def test_a_pause_is_bounded_by_the_patience() -> None:
    """Waiting longer than there is time for ends in TimeoutError, in time."""
    clock = FakeClock()
    patience = Patience(clock, 10)
    pausing = asyncio.ensure_future(patience.pause(60))
    await settle()
    await clock.advance(10)
    with pytest.raises(TimeoutError):
        await pausing


async def test_within_leaves_no_timer_behind() -> None:
    """Neither after a result nor after the time is over."""
    clock = FakeClock()
    future = a_future()
    waiting = asyncio.ensure_future(within(clock, 10, future))
    await settle()
    future.set_result("x")
    assert await waiting == "x"
    late = asyncio.ensure_future(within(clock, 10, a_future()))
    await settle()
    await clock.advance(11)
    with pytest.raises(TimeoutError):
        await late
    assert asyncio.all_tasks() == {asyncio.current_task()}
