"""A recovery key keeps the bot's identity and sessions, and gives them back on another device."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.crypto.backup_keeping import BackupStanding
from antiphon.adapter.matrix.crypto.own_identity import Standing
from antiphon.adapter.matrix.crypto.recovery_key import encode_recovery_key
from antiphon.adapter.matrix.crypto.secret_storage import CROSS_SIGNING
from antiphon.errors import EncryptionError, HomeserverError, RecoveryKeyError
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Op, error, lost_response
from antiphon.testing.own_keys import Account, Life, session

ROOM = "!room:fake.localhost"


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with FakeHomeserver() as server:
        yield Account(server, tmp_path)


async def test_another_device_is_signed_and_has_the_sessions(account: Account) -> None:
    keys = [session(ROOM) for _ in range(3)]
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore(keys, backed_up=False)
        typed = await old.recovering.set_up(anew=False)
        await old.recovering.back_up()
        assert await old.machine.to_back_up_count() == 0
    async with account.life("NEW") as new:
        await new.start()
        assert new.own.standing is Standing.ELSEWHERE
        back = await new.recovering.restore(typed)
        assert back.device_signed
        assert back.backup
        assert (back.sessions.total, back.sessions.new, back.sessions.failed) == (3, 3, 0)
        assert await new.machine.session_count() == 3
        assert await new.machine.to_back_up_count() == 0
        again = await new.recovering.restore(typed.replace(" ", ""))
        assert again.sessions.new == 0
        assert await new.backup.look() is BackupStanding.KEPT
        assert await new.machine.to_back_up_count() == 0  # the same backup: nothing is owed anew


async def test_a_second_key_is_only_made_when_asked_for(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        first = await life.recovering.set_up(anew=False)
        with pytest.raises(EncryptionError) as refused_:
            await life.recovering.set_up(anew=False)
        assert refused_.value.code == "recovery_exists"
        second = await life.recovering.set_up(anew=True)
        assert first != second
    async with account.life("NEW") as new:
        with pytest.raises(RecoveryKeyError):
            await new.recovering.restore(first)
        assert await new.own.keys() is None
        assert (await new.recovering.restore(second)).device_signed


async def test_a_wrong_key_takes_nothing_and_is_not_quoted(account: Account) -> None:
    async with account.life("OLD") as old:
        await old.start()
        await old.recovering.set_up(anew=False)
    wrong = encode_recovery_key(b"w" * 32)
    async with account.life("NEW") as new:
        for typed in (wrong, wrong[:-3], "not a key at all"):
            with pytest.raises(RecoveryKeyError) as refused_:
                await new.recovering.restore(typed)
            assert typed not in refused_.value.message
        assert await new.own.keys() is None


async def test_without_a_storage_that_is_said(account: Account) -> None:
    async with account.life() as life:
        with pytest.raises(RecoveryKeyError, match="no secret storage"):
            await life.recovering.restore(encode_recovery_key(b"w" * 32))


async def test_a_stored_identity_that_is_not_the_published_one_is_not_taken(
    account: Account, tmp_path: Path
) -> None:
    """As after somebody has replaced the identity, or put back an old storage."""
    async with account.life("OLD") as old:
        await old.start()
        typed = await old.recovering.set_up(anew=False)
    account.published.clear()
    async with account.life("REPLACER") as other:
        await other.start()
    async with account.life("NEW") as new:
        with pytest.raises(EncryptionError, match="another identity"):
            await new.recovering.restore(typed)
        assert await new.own.keys() is None


async def set_up_and_filled(life: Life) -> str:
    typed = await life.recovering.set_up(anew=False)
    await life.recovering.back_up()
    return typed


@pytest.mark.parametrize("op", ["create_backup", "set_account_data", "put_backup_keys"])
@pytest.mark.parametrize("kind", ["lost", "refused"])
async def test_cut_off_it_can_be_set_up_again(account: Account, op: Op, kind: str) -> None:
    fault = lost_response() if kind == "lost" else error(500, "M_UNKNOWN")
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore([session(ROOM)], backed_up=False)
        account.server.fail(op, fault)
        with pytest.raises(HomeserverError):
            await set_up_and_filled(old)
    async with account.life("OLD") as old:
        await old.start()
        typed = await old.recovering.set_up(anew=True)
        await old.recovering.back_up()
    async with account.life("NEW") as new:
        back = await new.recovering.restore(typed)
    assert (back.device_signed, back.sessions.new) == (True, 1)


async def test_a_session_in_the_backup_that_is_damaged_spoils_no_other(account: Account) -> None:
    keys = [session(ROOM) for _ in range(2)]
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore(keys, backed_up=False)
        typed = await old.recovering.set_up(anew=False)
        await old.recovering.back_up()
        version = await old.client.key_backup.version()
        assert version is not None
    kept = account.server.backups[account.user_id].find(version.version).keys[ROOM]
    kept[keys[0].session_id] |= {"session_data": {"ciphertext": "x", "mac": "y", "ephemeral": "z"}}
    async with account.life("NEW") as new:
        back = await new.recovering.restore(typed)
    assert (back.sessions.total, back.sessions.new, back.sessions.failed) == (2, 1, 1)


async def test_a_deleted_backup_is_begun_anew_and_filled(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        await life.machine.restore([session(ROOM)], backed_up=False)
        await life.recovering.set_up(anew=False)
        await life.recovering.back_up()
        first = await life.client.key_backup.version()
        assert first is not None
        assert first.count == 1
        await life.client.key_backup.delete_version(first.version)
        await life.machine.restore([session(ROOM)], backed_up=False)
        await life.recovering.back_up()
        second = await life.client.key_backup.version()
        assert second is not None
        assert second.version != first.version
        assert second.count == 2


async def test_nothing_is_put_into_a_backup_of_somebody_else(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        await life.recovering.set_up(anew=False)
        foreign = {"public_key": "A" * 43, "signatures": {}}
        version = await life.client.key_backup.create_version(
            "m.megolm_backup.v1.curve25519-aes-sha2", foreign
        )
        await life.machine.restore([session(ROOM)], backed_up=False)
        await life.recovering.back_up()
        assert await life.backup.look() is BackupStanding.FOREIGN
        found = await life.client.key_backup.version(version)
        assert found is not None
        assert found.count == 0
        assert await life.machine.to_back_up_count() == 1
        await life.recovering.set_up(anew=True)
        await life.recovering.back_up()
        ours = await life.client.key_backup.version()
        assert ours is not None
        assert (ours.version, ours.count) != (version, 0)


async def test_one_session_is_found_in_the_backup(account: Account) -> None:
    key = session(ROOM)
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore([key], backed_up=False)
        typed = await old.recovering.set_up(anew=False)
        await old.recovering.back_up()
        late = session(ROOM)
    async with account.life("NEW") as new:
        await new.recovering.restore(typed)
        await new.backup.look()
        assert not await new.backup.find(ROOM, late.session_id)
    async with account.life("OLD") as old:
        await old.start()
        await old.machine.restore([late], backed_up=False)
        await old.recovering.back_up()
    async with account.life("NEW") as new:
        await new.start()
        assert await new.backup.find(ROOM, late.session_id)
        assert await new.machine.session_count() == 2


async def test_the_homeserver_is_given_no_secret_in_the_clear(account: Account) -> None:
    async with account.life() as life:
        await life.start()
        typed = await life.recovering.set_up(anew=False)
        secrets = [await life.machine.secret(name) for name in CROSS_SIGNING]

    said = repr([r.body for r in account.server.requests]) + repr(account.server.account_data)
    for secret in secrets:
        assert secret is not None
        assert base64.b64encode(secret).decode().rstrip("=") not in said
    assert typed not in said
