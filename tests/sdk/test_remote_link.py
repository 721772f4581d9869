"""Up or away: who is told, and when to ask again."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.errors import MasterRefusedError, MasterUnreachableError, PlatformError
from antiphon.sdk.remote_link import Limits, Link, first_of


@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        (MasterUnreachableError("away"), MasterUnreachableError),
        (MasterRefusedError("no"), MasterRefusedError),
        (PlatformError("The token lacks a scope.", code="forbidden"), MasterUnreachableError),
    ],
)
def test_whoever_was_about_to_ask_is_told_that_it_is_away(
    reason: PlatformError, raised: type[PlatformError]
) -> None:
    """Never by a refusal: what waits would be taken for refused, and dropped."""
    link = Link("http://plane")
    link.found()
    link.check()
    link.lost(reason)
    with pytest.raises(raised):
        link.check()
    assert (link.usable, link.detail) == (False, reason.message)


def test_while_something_waits_nobody_asks() -> None:
    """And who tells it is woken by it, as by the control plane's return."""
    link = Link("http://plane")
    assert not link.usable
    change = link.change()
    link.found()
    assert (change.is_set(), link.usable) == (True, True)
    change = link.change()
    link.waiting = 2
    assert (change.is_set(), link.usable) == (True, False)
    change = link.change()
    link.waiting = 0
    assert (change.is_set(), link.usable) == (False, True)


def test_pauses_grow_to_their_bound_and_are_spread() -> None:
    limits, away = Limits(backoff_s=0.2, backoff_max_s=15.0), MasterUnreachableError("away")
    assert [round(limits.pause(n, 1.0, away), 1) for n in (1, 2, 3, 4, 40)] == [
        *(0.2, 0.4, 0.8, 1.6, 15.0),
    ]
    assert limits.pause(40, 0.0, away) == 7.5
    assert limits.pause(1, 1.0, MasterRefusedError("no")) == 30.0


async def test_the_other_is_cancelled_when_the_event_comes_first() -> None:
    """And what it raises is raised where it ends first."""
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    event = asyncio.Event()
    waiting = asyncio.ensure_future(first_of(event, other()))
    await asyncio.sleep(0)
    event.set()
    await asyncio.wait_for(waiting, 5)
    assert ended.is_set()

    async def fails() -> None:
        raise MasterUnreachableError("away")

    with pytest.raises(MasterUnreachableError):
        await first_of(asyncio.Event(), fails())
