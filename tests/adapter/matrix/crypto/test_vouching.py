"""What a person's word is worth: the identity is pinned, and signed by the bot's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from antiphon.adapter.matrix.crypto.cross_signing import (
    CrossSigningKeys,
    new_cross_signing_keys,
    signing_keys_upload,
)
from antiphon.adapter.matrix.crypto.identity import Identity, read_identity, user_is_verified
from antiphon.adapter.matrix.crypto.verification_state import Verified
from antiphon.adapter.matrix.crypto.vouching import Vouching
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import error
from antiphon.testing.own_keys import Account, Life


class Bot:
    """The bot, running, and Ada with her identity."""

    def __init__(self, life: Life, ada: str, client: MatrixClient, server: FakeHomeserver):
        self.server = server
        self.life = life
        self.ada = ada
        self.client = client
        self.vouching = Vouching(life.machine, life.own, life.client.keys)

    async def identity(self) -> CrossSigningKeys:
        """Ada's identity; the first, or one that takes the place of the one before."""
        keys = new_cross_signing_keys(self.ada)
        await self.client.keys.upload_signing_keys(signing_keys_upload(keys))
        await self.life.machine.all_outdated()
        await self.life.crypto.look_up(self.ada)
        return keys

    def verified(self, keys: CrossSigningKeys) -> Verified:
        return Verified(self.ada, "PHONE", "key", keys.master.public)

    async def trusts(self) -> bool:
        """Whether the homeserver has the bot's own signature of Ada's identity."""
        answer = await self.life.client.keys.query_keys([self.ada, self.life.machine.me.user_id], 0)
        own, theirs = (
            self._read(answer, user_id) for user_id in (self.life.machine.me.user_id, self.ada)
        )
        assert own is not None
        assert theirs is not None
        master = await self.vouching.own_master()
        return master is not None and user_is_verified(own, master, theirs)

    @staticmethod
    def _read(answer: dict[str, dict[str, object]], user_id: str) -> Identity | None:
        return read_identity(
            user_id,
            *(answer[f"{u}_keys"].get(user_id) for u in ("master", "self_signing", "user_signing")),
        )


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(FakeHomeserver())
        life = await stack.enter_async_context(Account(server, tmp_path).life())
        ada = server.account("ada", "password")
        token = server.token(ada, "PHONE")
        client = await stack.enter_async_context(MatrixClient(server.url, access_token=token))
        yield Bot(life, ada, client, server)


async def test_a_word_pins_and_signs_the_identity(bot: Bot) -> None:
    await bot.life.start()
    keys = await bot.identity()
    assert not await bot.trusts()
    await bot.vouching.vouch(bot.verified(keys))
    user = await bot.life.machine.user(bot.ada)
    assert user is not None
    assert user.pinned == keys.master.public
    assert await bot.trusts()


async def test_another_identity_than_was_verified_is_not_signed(bot: Bot) -> None:
    """It was exchanged while the two compared: the homeserver's newest word counts for nothing."""
    await bot.life.start()
    keys = await bot.identity()
    other = new_cross_signing_keys(bot.ada)
    with structlog.testing.capture_logs() as logs:
        await bot.vouching.vouch(bot.verified(other))
    assert [line["event"] for line in logs] == ["user_not_signed"]
    assert not await bot.trusts()
    user = await bot.life.machine.user(bot.ada)
    assert user is not None
    assert user.master == keys.master.public
    assert user.changed  # and people are told


async def test_without_an_identity_of_its_own_it_is_pinned_alone(bot: Bot) -> None:
    keys = await bot.identity()
    assert await bot.vouching.own_master() is None
    await bot.vouching.vouch(bot.verified(keys))
    user = await bot.life.machine.user(bot.ada)
    assert user is not None
    assert user.pinned == keys.master.public


async def test_a_device_alone_raises_nothing(bot: Bot) -> None:
    await bot.life.start()
    await bot.identity()
    await bot.vouching.vouch(Verified(bot.ada, "PHONE", "key", None))
    assert not await bot.trusts()


async def test_the_own_master_key_is_named_only_where_its_secret_is_here(bot: Bot) -> None:
    assert await bot.vouching.own_master() is None
    await bot.life.start()
    keys = await bot.life.own.keys()
    assert keys is not None
    assert await bot.vouching.own_master() == keys.master.public


async def test_an_upload_that_failed_is_done_at_the_next_upkeep_and_then_no_more(bot: Bot) -> None:
    await bot.life.start()
    keys = await bot.identity()
    bot.server.fail("signatures", error(500, "M_UNKNOWN"))
    with structlog.testing.capture_logs() as logs:
        await bot.vouching.vouch(bot.verified(keys))
    assert [line["event"] for line in logs] == ["user_not_signed"]
    assert not await bot.trusts()
    await bot.vouching.settle()
    assert await bot.trusts()
    await bot.life.machine.all_outdated()
    await bot.life.crypto.look_up(bot.ada)
    uploads = len(bot.server.asked("signatures"))
    await bot.vouching.settle()
    assert len(bot.server.asked("signatures")) == uploads


async def test_who_was_verified_before_the_bot_had_an_identity_is_signed_later(bot: Bot) -> None:
    keys = await bot.identity()
    await bot.vouching.vouch(bot.verified(keys))
    await bot.vouching.settle()
    await bot.life.start()
    await bot.vouching.settle()
    assert await bot.trusts()


async def test_upkeep_signs_nobody_who_was_not_verified_nor_a_changed_identity(bot: Bot) -> None:
    await bot.life.start()
    await bot.identity()
    await bot.vouching.settle()
    assert not await bot.trusts()
    keys = await bot.identity()
    await bot.vouching.vouch(bot.verified(keys))
    await bot.identity()
    await bot.vouching.settle()
    assert not await bot.trusts()
