"""What the doctor says of encryption, and that it only looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.doctor import encryption as check
from antiphon.adapter.matrix.doctor.encryption import Seen
from antiphon.adapter.matrix.doctor.finding import Finding
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.own_keys import Account, Life, session
from antiphon.testing.patient import patient

LOOKS = {"keys_query", "backup_version", "account_data"}


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with FakeHomeserver() as server:
        yield Account(server, tmp_path)


async def look(account: Account, life: Life, folder: Path) -> Finding:
    """With the key store of this life where the adapter's is."""
    device = life.machine.me.device_id
    url = f"sqlite:///{account.folder / device}.db"
    there = patient(folder, homeserver=account.server.url, keys_database=url)
    asked = len(account.server.requests)
    seen = await check.look(there, life.client, account.user_id, device)
    assert {r.op for r in account.server.requests[asked:]} <= LOOKS
    return check.finding(there, seen, 2)


async def test_a_signed_device_is_ok_and_a_recovery_key_is_proposed(
    account: Account, tmp_path: Path
) -> None:
    async with account.life() as life:
        await life.start()
        found = await look(account, life, tmp_path)
        assert found.level == "ok"
        assert "2 encrypted rooms; this device is signed" in found.detail
        assert "antiphon matrix recovery-key" in found.detail
        await life.machine.restore([session("!r:x")], backed_up=False)
        await life.recovering.set_up(anew=False)
        found = await look(account, life, tmp_path)
        assert found.level == "ok"
        assert "a key backup is there; recovery is set up" in found.detail


async def test_an_identity_elsewhere_is_a_warning_that_says_what_to_do(
    account: Account, tmp_path: Path
) -> None:
    async with account.life("OTHER") as other:
        await other.start()
    async with account.life() as life:
        await life.start()
        found = await look(account, life, tmp_path)
    assert found.level == "warning"
    assert "--restore" in found.todo


async def test_an_unsigned_device_and_a_foreign_backup_are_warnings(
    account: Account, tmp_path: Path
) -> None:
    async with account.life() as life:
        await life.crypto.settle()
        found = await look(account, life, tmp_path)
        assert (found.level, "not signed" in found.detail) == ("warning", True)
        await life.start()
        foreign = {"public_key": "A" * 43, "signatures": {}}
        await life.client.key_backup.create_version(
            "m.megolm_backup.v1.curve25519-aes-sha2", foreign
        )
        found = await look(account, life, tmp_path)
        assert (found.level, "key backup" in found.detail) == ("warning", True)


def test_before_the_first_start_nothing_is_wrong(tmp_path: Path) -> None:
    assert check.finding(patient(tmp_path), None, 0).level == "ok"


@pytest.mark.parametrize(("rooms", "level"), [(0, "ok"), (1, "warning")])
def test_switched_off_it_matters_only_where_rooms_are_encrypted(
    tmp_path: Path, rooms: int, level: str
) -> None:
    found = check.finding(patient(tmp_path, encryption=False), None, rooms)
    assert found.level == level


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "installed", lambda: False)
    found = check.finding(patient(tmp_path), None, 3)
    assert found.level == "warning"
    assert "antiphon[e2ee]" in found.todo


def test_a_signed_device_whose_identity_is_elsewhere_is_told(tmp_path: Path) -> None:
    seen = Seen(identity=True, ours=False, signed=True, backup=None, recovery=False)
    assert check.finding(patient(tmp_path), seen, 1).level == "warning"
