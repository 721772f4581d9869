"""Leaving rooms within a homeserver's limits and moods."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from antiphon.adapter.matrix.reset.leaving import PAUSES_S, Leaving
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverUnreachableError, TokenRevokedError
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver


class PassingClock:
    """A clock on which sleeps take their time, and nobody's."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._now = 1_000_000.0

    def now_ms(self) -> int:
        return round(self._now * 1000)

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds


class Bot:
    """A bot in three rooms."""

    def __init__(self, server: FakeHomeserver, client: MatrixClient):
        self.server = server
        self.client = client
        self.clock = PassingClock()
        self.told: list[tuple[int, int, float]] = []
        self.user_id = server.account("bot")
        self.ada = server.account("ada")
        client.use_token(server.token(self.user_id))
        self.rooms = [RoomId(server.room(self.ada, self.user_id)) for _ in range(3)]
        self.leaving = Leaving(client, self.clock, lambda *now: self.told.append(now))


@pytest.fixture
async def bot(homeserver: FakeHomeserver) -> AsyncIterator[Bot]:
    async with MatrixClient(homeserver.url) as client:
        yield Bot(homeserver, client)


async def test_every_room_is_left_and_forgotten_and_progress_told(bot: Bot) -> None:
    assert await bot.leaving.run(bot.rooms) == []
    assert await bot.client.joined_rooms() == ()
    assert len(bot.server.asked("forget")) == 3
    assert [(done, total) for done, total, _ in bot.told] == [(1, 3), (2, 3), (3, 3)]


async def test_again_it_only_forgets(bot: Bot) -> None:
    """Whatever was done of it before."""
    await bot.client.leave(bot.rooms[0])
    for _ in range(2):
        assert await bot.leaving.run(bot.rooms) == []


async def test_a_limit_is_waited_out_as_told_by_all(bot: Bot) -> None:
    bot.server.fail("leave", faults.limited(30_000), times=2)
    assert await bot.leaving.run(bot.rooms) == []
    assert await bot.client.joined_rooms() == ()
    assert sum(bot.clock.slept) >= 30
    assert max(bot.clock.slept) <= 30


async def test_a_room_that_does_not_let_go_is_named_and_stops_no_other(bot: Bot) -> None:
    bot.server.fail("leave", faults.error(403, "M_FORBIDDEN"), times=1)
    refused = await bot.leaving.run(bot.rooms)
    assert len(refused) == 1
    assert "M_FORBIDDEN" in refused[0].reason
    assert await bot.client.joined_rooms() == (refused[0].room_id,)


async def test_a_lost_answer_is_asked_for_again(bot: Bot) -> None:
    bot.server.fail("leave", faults.lost_response(), times=2)
    bot.server.fail("forget", faults.html(), times=2)
    assert await bot.leaving.run(bot.rooms) == []
    assert await bot.client.joined_rooms() == ()


async def test_a_homeserver_that_stays_away_ends_it_with_its_sentence(bot: Bot) -> None:
    bot.server.fail("leave", faults.html(), times=10_000)
    with pytest.raises(HomeserverUnreachableError):
        await bot.leaving.run(bot.rooms)
    assert sum(bot.clock.slept) >= sum(PAUSES_S)


async def test_a_revoked_token_ends_it_at_once(bot: Bot) -> None:
    bot.server.fail("leave", faults.error(401, "M_UNKNOWN_TOKEN"), times=1)
    with pytest.raises(TokenRevokedError):
        await bot.leaving.run(bot.rooms)
    assert bot.clock.slept == []
