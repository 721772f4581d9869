"""Invites: each decided once, by itself, whatever /sync says meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from antiphon.settings import MatrixSettings
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.platform import FakePlatform


def adapter(server: FakeHomeserver, state: Path) -> AdapterUnderTest:
    bot = server.account("bot")
    return AdapterUnderTest(
        server.url,
        bot,
        server.token(bot),
        FakePlatform(),
        state,
        settings=MatrixSettings(allow=(f"@*:{server.name}",), edit_interval_s=0.05),
    )


async def test_a_join_that_sync_told_first_is_not_taken_back(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    """The join's own answer comes late; a turn runs in the room by then."""
    bot, ada = adapter(homeserver, tmp_path), homeserver.account("ada")
    platform = bot.platform
    assert isinstance(platform, FakePlatform)
    hold, join = asyncio.Event(), asyncio.Event()
    platform.reply("slow", hold, " done")
    room = homeserver.room(ada)
    async with bot.running():
        homeserver.fail("join", faults.held(join))
        homeserver.membership(room, bot.user_id, "invite", by=ada)
        homeserver.say(room, ada, "hello")
        await homeserver.until(lambda: bool(homeserver.messages(room, bot.user_id)))
        join.set()
        await homeserver.until(lambda: homeserver.requests[-1].op == "typing")
        hold.set()
        await homeserver.until(
            lambda: "slow done" in str(homeserver.messages(room, bot.user_id)[-1])
        )


async def test_an_invite_that_never_works_holds_up_no_other(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    """Synapse answers 502 where the inviting server is gone."""
    bot, ada = adapter(homeserver, tmp_path), homeserver.account("ada")
    rooms = {homeserver.room(ada) for _ in range(3)}
    async with bot.running():
        homeserver.fail("join", faults.error(502, "M_UNKNOWN"), times=1000)
        for room in rooms:
            homeserver.membership(room, bot.user_id, "invite", by=ada)
        await homeserver.until(
            lambda: {next(iter(r.path.values())) for r in homeserver.asked("join")} >= rooms,
            timeout_s=10,
        )


async def test_a_dead_invite_is_given_up(homeserver: FakeHomeserver, tmp_path: Path) -> None:
    bot, ada = adapter(homeserver, tmp_path), homeserver.account("ada")
    room = homeserver.room(ada)
    homeserver.fail("join", faults.error(404, "M_NOT_FOUND"), times=1000)
    other = homeserver.room(ada, bot.user_id)
    async with bot.running():
        homeserver.membership(room, bot.user_id, "invite", by=ada)
        await homeserver.until(lambda: bool(homeserver.asked("join")))
        homeserver.say(other, ada, "still there?")
        await homeserver.until(lambda: bool(homeserver.messages(other, bot.user_id)))
    async with bot.running():
        pass
    assert len(homeserver.asked("join")) == 1
