"""The bot makes its identity once, signs its device with it, and never overwrites another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.crypto import own_identity
from antiphon.adapter.matrix.crypto.cross_signing import (
    new_cross_signing_keys,
    signing_keys_upload,
)
from antiphon.adapter.matrix.crypto.identity import device_is_signed, master_is_signed_by_device
from antiphon.adapter.matrix.crypto.own_identity import Standing
from antiphon.adapter.matrix.crypto.secret_storage import MASTER
from antiphon.errors import HomeserverError
from antiphon.testing.crash_points import crash_points
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Op, lost_response
from antiphon.testing.own_keys import Account

OWN = "adapter/matrix/crypto/own_identity.py"
POINTS = sorted(point.name for point in crash_points() if point.modules == (OWN,))


class KilledError(Exception):
    pass


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with FakeHomeserver() as server:
        yield Account(server, tmp_path)


async def test_a_first_start_ends_with_a_signed_device(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        assert life.own.standing is Standing.OURS
        found, there, device = await life.own.published()
    assert there
    assert found is not None
    assert device_is_signed(found, device)
    assert master_is_signed_by_device(found, "D", life.machine.me.ed25519)


async def test_a_second_start_changes_nothing(account: Account) -> None:
    async with account.life() as life:
        await life.start()
    before = account.published
    asked = len(account.server.asked("signing_keys")), len(account.server.asked("signatures"))
    async with account.life() as life:
        await life.start()
        assert life.own.standing is Standing.OURS
    assert account.published == before
    assert asked == (
        len(account.server.asked("signing_keys")),
        len(account.server.asked("signatures")),
    )


@pytest.mark.parametrize("point", POINTS)
async def test_killed_anywhere_the_next_life_ends_the_same(
    account: Account, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The keys of the first life are those that are published."""

    def die(name: str) -> None:
        if name == point:
            raise KilledError

    async with account.life() as life:
        monkeypatch.setattr(own_identity, "crash_point", die)
        with pytest.raises(KilledError):
            await life.start()
        monkeypatch.undo()
        first = await life.machine.secret(MASTER)
    async with account.life() as life:
        await life.start()
        assert life.own.standing is Standing.OURS
        assert first is not None
        assert await life.machine.secret(MASTER) == first


@pytest.mark.parametrize("op", ["signing_keys", "signatures"])
async def test_a_lost_answer_is_no_second_identity(account: Account, op: Op) -> None:
    account.server.fail(op, lost_response())
    async with account.life() as life:
        with pytest.raises(HomeserverError):
            await life.start()
        await life.start()
        assert life.own.standing is Standing.OURS


async def test_the_keys_are_in_the_store_before_the_homeserver_has_them(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(name: str) -> None:
        if name == "identity.made":
            assert not account.published
            raise KilledError

    monkeypatch.setattr(own_identity, "crash_point", look)
    async with account.life() as life:
        with pytest.raises(KilledError):
            await life.start()
        assert await life.own.keys() is not None


async def test_an_identity_of_another_client_is_left_alone(account: Account) -> None:
    async with account.life("OTHER") as other:
        await other.start()
    before = account.published
    async with account.life() as life:
        await life.start()
        assert life.own.standing is Standing.ELSEWHERE
        assert await life.own.keys() is None
    assert account.published == before


async def test_a_replaced_identity_is_said_and_left_alone(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        account.server.keys.signing.upload(
            account.user_id, signing_keys_upload(new_cross_signing_keys(account.user_id))
        )
        before = account.published
        assert await life.own.settle() is Standing.REPLACED
    assert account.published == before


async def test_where_the_homeserver_wants_the_password_it_is_given(account: Account) -> None:
    """A part of our identity is missing there, which the homeserver lets only the owner mend."""
    async with account.life() as life:
        await life.start()
        del account.published["self_signing"]
        assert await life.own.settle() is Standing.OURS
        del account.published["self_signing"]
    async with account.life(password="") as life:
        assert await life.own.settle() is Standing.PENDING
    async with account.life(password="wrong") as life:
        assert await life.own.settle() is Standing.PENDING


async def test_a_device_with_other_keys_under_our_name_is_not_signed(account: Account) -> None:
    async with account.life() as life:
        await life.crypto.settle()
        keys = account.server.keys.devices[account.user_id]["D"].keys
        assert keys is not None
        keys["keys"]["ed25519:D"] = "A" * 43
        assert await life.own.settle() is Standing.PENDING
    assert not account.server.asked("signatures")
