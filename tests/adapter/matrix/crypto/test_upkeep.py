"""What is done in the background: late keys are looked for, rarely; trouble is waited out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon.adapter.matrix.beside import while_in
from antiphon.adapter.matrix.crypto.own_identity import Standing
from antiphon.adapter.matrix.crypto.upkeep import ASK_EVERY_S, LOOK_EVERY_S, Upkeep
from antiphon.errors import TokenRevokedError
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import error, html
from antiphon.testing.own_keys import Account, Life, session
from antiphon.testing.world import until

ROOM = "!room:fake.localhost"


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with FakeHomeserver() as server:
        yield Account(server, tmp_path)


class Running:
    """A life with its upkeep, and what it said."""

    def __init__(self, life: Life, account: Account):
        self.life = life
        self.account = account
        self.found = asyncio.Event()
        self.standing: dict[str, float] = {}
        self.upkeep = Upkeep(life.own, life.backup, life.crypto.ask_for_key, account.clock)
        self.upkeep.on_keys(self.found.set)
        self.upkeep.on_standing(self.standing.__setitem__)

    async def until_asked(self, number: int) -> None:
        asked = self.account.server.asked
        await self.account.server.until(lambda: len(asked("send_to_device")) >= number)


@asynccontextmanager
async def running(account: Account, life: Life) -> AsyncIterator[Running]:
    await life.crypto.settle()
    made = Running(life, account)
    async with while_in(made.upkeep.run()):
        yield made


async def recovered(account: Account, life: Life, *keys: object) -> None:
    """The backup has these keys, and this life has not."""
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore(list(keys), backed_up=False)  # type: ignore[arg-type]
        typed = await old.recovering.set_up(anew=False)
        await life.recovering.restore(typed)
        await old.recovering.back_up()


async def test_a_key_that_the_backup_has_is_taken_and_told(account: Account) -> None:
    key = session(ROOM)
    async with account.life() as life:
        await recovered(account, life, key)
        async with running(account, life) as now:
            now.upkeep.want(ROOM, key.session_id)
            await asyncio.wait_for(now.found.wait(), 5)
        assert await life.machine.session_count() == 1
    assert not account.server.asked("send_to_device")


async def test_else_the_own_devices_are_asked_at_most_once_in_an_hour(account: Account) -> None:
    async with account.life() as life, running(account, life) as now:
        for _ in range(5):
            now.upkeep.want(ROOM, "one")
        now.upkeep.want(ROOM, "two")
        await now.until_asked(2)
        now.upkeep.want(ROOM, "one")
        await account.clock.advance(ASK_EVERY_S + 1)
        now.upkeep.want(ROOM, "one")
        await now.until_asked(3)
    assert not now.found.is_set()
    bodies = [r.body["messages"] for r in account.server.asked("send_to_device")]
    wanted = [
        content["body"]["session_id"]
        for body in bodies
        for devices in body.values()
        for content in devices.values()
    ]
    assert wanted == ["one", "two", "one"]


async def test_a_request_that_is_refused_stops_no_other(account: Account) -> None:
    account.server.fail("send_to_device", error(413, "M_TOO_LARGE"))
    async with account.life() as life, running(account, life) as now:
        now.upkeep.want(ROOM, "one")
        now.upkeep.want(ROOM, "two")
        await now.until_asked(2)


async def test_a_homeserver_that_is_away_is_asked_again_later(account: Account) -> None:
    account.server.fail("keys_query", html(), 2)
    async with account.life() as life, running(account, life) as now:
        for pause in (2, 4):
            await until(lambda: account.clock.sleeping > 0)
            await account.clock.advance(pause)
        await account.server.until(lambda: bool(account.server.asked("signatures")))
        await until(lambda: "backup" in now.standing)
    assert now.standing == {"identity": 1, "identity_replaced": 0, "backup": 0}


async def test_one_that_has_no_backups_gets_its_identity_all_the_same(account: Account) -> None:
    account.server.fail("backup_version", error(404, "M_UNRECOGNIZED"), 9)
    async with account.life() as life, running(account, life) as now:
        now.upkeep.want(ROOM, "one")
        await now.until_asked(1)
        assert life.own.standing is Standing.OURS


async def test_it_is_looked_again_after_an_hour(account: Account) -> None:
    """A backup that somebody deleted is begun anew, though nothing tells of that."""
    async with account.life() as life:
        await life.start()
        await life.recovering.set_up(anew=False)
        async with running(account, life):
            await until(lambda: account.clock.sleeping > 0)
            version = await life.client.key_backup.version()
            assert version is not None
            await life.client.key_backup.delete_version(version.version)
            await account.clock.advance(LOOK_EVERY_S + 1)
            await account.server.until(lambda: len(account.server.asked("create_backup")) == 2)


async def test_a_login_that_ended_ends_it(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        account.server.revoke(account.user_id)
        upkeep = Upkeep(life.own, life.backup, life.crypto.ask_for_key, account.clock)
        with pytest.raises(TokenRevokedError):
            await asyncio.wait_for(upkeep.run(), 5)
