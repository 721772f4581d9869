"""What the doctor sees without asking anybody: settings, disk, permissions, databases, the lock."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.doctor import configured, database, disk
from antiphon.adapter.matrix.doctor.disk import FAIL_BYTES, WARN_BYTES
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import UserId
from antiphon.db import StateLock
from antiphon.errors import SettingsError, StateError
from antiphon.sdk.prototype_state import LocalState
from antiphon.settings import Secret
from antiphon.testing.patient import patient


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("homeserver", "level"),
    [
        ("https://matrix.example.org", "ok"),
        ("example.org", "ok"),
        ("http://127.0.0.1:8008", "ok"),
        ("http://localhost:8008", "ok"),
        ("http://synapse:8008", "ok"),
        ("http://10.1.2.3", "ok"),
        ("http://matrix.example.org", "warning"),
        ("http://8.8.8.8", "warning"),
    ],
)
def test_an_address_without_tls_is_a_warning_unless_it_is_near(
    state: Path, homeserver: str, level: str
) -> None:
    found = configured.settings(patient(state, homeserver=homeserver))
    assert found.level == level
    assert "https://" in found.todo or level == "ok"


def test_settings_without_an_account_or_address_are_failures(state: Path) -> None:
    found = configured.settings(patient(state, user=""))
    assert found.level == "failure"
    assert "[matrix] user" in found.todo
    with pytest.raises(SettingsError, match="No homeserver"):
        configured.settings(patient(state, homeserver=""))
    token_alone = patient(state, user="", access_token=Secret("hush"))
    assert configured.settings(token_alone).level == "ok"


def test_settings_show_no_secret(state: Path) -> None:
    found = configured.settings(
        patient(state, password=Secret("hush-1"), access_token=Secret("hush-2"))
    )
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("allow", "level"), [((), "warning"), (("*",), "ok"), (("@ada:x.org",), "ok")]
)
def test_nobody_allowed_is_a_warning(state: Path, allow: tuple[str, ...], level: str) -> None:
    found = configured.allow(patient(state, allow=allow))
    assert found.level == level
    assert ("[matrix] allow" in found.todo) == (level == "warning")


@pytest.mark.parametrize("setting", ["allow", "admins"])
def test_a_pattern_that_is_none_is_an_error_that_names_it(state: Path, setting: str) -> None:
    wrong: dict[str, Any] = {setting: ("ada",)}
    with pytest.raises(SettingsError, match=rf"\[matrix\] {setting}: 'ada'"):
        configured.allow(patient(state, **wrong))


# --- disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (0, "failure"),
        (FAIL_BYTES - 1, "failure"),
        (FAIL_BYTES, "warning"),
        (WARN_BYTES - 1, "warning"),
        (WARN_BYTES, "ok"),
    ],
)
def test_little_room_is_a_warning_and_none_a_failure(state: Path, free: int, level: str) -> None:
    found = disk.judged(free, state)
    assert found.level == level
    assert bool(found.todo) == (level != "ok")


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_nearest_one(
    tmp_path: Path,
) -> None:
    assert "free where" in disk.disk(patient(tmp_path / "a" / "b" / "c")).detail
    assert not (tmp_path / "a").exists()


def test_what_others_could_read_is_a_warning_with_the_commands(state: Path) -> None:
    login, settings = state / "matrix-login.json", state.parent / "antiphon.toml"
    for file in (login, settings):
        file.write_text("")
        file.chmod(0o600)
    asked = patient(state, settings_file=settings)
    assert disk.permissions(asked).level == "ok"
    state.chmod(0o755)
    login.chmod(0o640)
    settings.chmod(0o644)
    found = disk.permissions(asked)
    assert found.level == "warning"
    assert f"chmod 700 {state} && chmod 600 {login} && chmod 600 {settings}" in found.todo


def test_before_the_first_start_the_settings_file_counts_too(tmp_path: Path) -> None:
    settings = tmp_path / "antiphon.toml"
    settings.write_text("")
    settings.chmod(0o600)
    asked = patient(tmp_path / "none", settings_file=settings)
    assert "not there yet" in disk.permissions(asked).detail
    settings.chmod(0o604)
    assert disk.permissions(asked).level == "warning"
    assert not (tmp_path / "none").exists()


def test_a_state_folder_that_can_not_be_used_is_a_failure(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = state / "file"
    file.write_text("")
    assert "no folder" in disk.permissions(patient(file)).detail
    (state / "matrix-login.json").write_text("")
    # The tests may run as root, who may do everything.
    denied = {str(state / "matrix-login.json")}
    monkeypatch.setattr(os, "access", lambda path, _: str(path) not in denied)
    unreadable = disk.permissions(patient(state))
    assert unreadable.level == "failure"
    assert f"sudo chown $USER {state / 'matrix-login.json'}" in unreadable.todo
    denied = {str(state)}
    assert "can't write" in disk.permissions(patient(state)).detail
    above = disk.permissions(patient(state / "new"))
    assert above.level == "failure"
    assert "can't make it" in above.detail


def test_a_folder_below_a_file_is_told(state: Path) -> None:
    (state / "file").write_text("")
    found = disk.permissions(patient(state / "file" / "below"))
    assert found.level == "failure"


# --- databases --------------------------------------------------------------------------------


async def make_journal(state: Path, user: str = "@bot:fake.localhost") -> Path:
    path = state / "matrix.db"
    journal = await Journal.open(f"sqlite:///{path}", UserId(user), "DEVICE")
    await journal.close()
    return path


async def make_chats(state: Path) -> Path:
    path = state / "state.db"
    opened = await LocalState.open(f"sqlite:///{path}", clock=SystemClock(), chance=SystemChance())
    await opened.close()
    return path


async def test_databases_that_are_not_there_yet_are_ok_and_are_not_made(state: Path) -> None:
    for check in (database.journal, database.chats):
        found = await check(patient(state))
        assert (found.level, "not there yet" in found.detail.lower()) == ("ok", True)
    assert list(state.iterdir()) == []


async def test_whole_databases_are_ok(state: Path) -> None:
    await make_journal(state)
    await make_chats(state)
    for check in (database.journal, database.chats):
        found = await check(patient(state))
        assert found.level == "ok"
        assert "Whole, schema 0" in found.detail


async def test_an_older_schema_is_ok_and_said(state: Path) -> None:
    path = await make_journal(state)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    found = await database.journal(patient(state))
    assert found.level == "ok"
    assert "schema 0001, which the next start brings to" in found.detail


async def test_a_newer_schema_is_a_failure(state: Path) -> None:
    path = await make_chats(state)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    found = await database.chats(patient(state))
    assert found.level == "failure"
    assert "newer" in found.detail
    assert "pip install --upgrade" in found.todo


async def test_another_stores_database_is_a_failure(state: Path) -> None:
    (await make_chats(state)).rename(state / "matrix.db")
    found = await database.journal(patient(state))
    assert found.level == "failure"
    assert "something else" in found.detail
    assert "[matrix] database" in found.todo


async def test_another_accounts_journal_is_a_failure(state: Path) -> None:
    await make_journal(state, "@other:fake.localhost")
    found = await database.journal(patient(state))
    assert found.level == "failure"
    assert "@other:fake.localhost" in found.detail
    assert "[matrix] user" in found.todo


def damage_a_page(path: Path) -> None:
    """Leaves the head whole, so that only looking at all pages finds it."""
    raw = bytearray(path.read_bytes())
    for start in range(4096, len(raw), 4096):
        raw[start + 8 : start + 64] = b"\xff" * 56
    path.write_bytes(raw)


async def test_a_damaged_page_is_a_failure(state: Path) -> None:
    for make, check in ((make_journal, database.journal), (make_chats, database.chats)):
        path = await make(state)
        damage_a_page(path)
        before = path.read_bytes()
        found = await check(patient(state))
        assert found.level == "failure"
        assert "damaged" in found.detail
        assert "backup" in found.todo
        assert path.read_bytes() == before


async def test_a_lost_index_row_is_found_too(state: Path) -> None:
    """An index that does not have what its table has: `quick_check` does not see that."""
    path = await make_journal(state)
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute(
            "INSERT INTO gap (room_id, batch, from_token) VALUES ('!a', 1, 'x'), ('!b', 1, 'x')"
        )
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master "
            "WHERE name = 'turn_state') WHERE name = 'turn_room_pos'"
        )
    connection.close()
    assert (await database.journal(patient(state))).level == "failure"


async def test_a_file_that_is_no_database_is_a_failure(state: Path) -> None:
    (state / "matrix.db").write_bytes(b"a letter to my mother\n" * 500)
    found = await database.journal(patient(state))
    assert (found.level, "no database" in found.detail) == ("failure", True)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://x/y", "[matrix] database"),
        ("postgresql://u:hush@127.0.0.1:9/none", "check [matrix] database"),
    ],
)
async def test_a_database_that_can_not_be_asked_is_a_failure_without_its_password(
    state: Path, url: str, word: str
) -> None:
    found = await database.journal(patient(state, database=url))
    assert found.level == "failure"
    assert word in found.todo
    assert "hush" not in repr(found)


async def test_a_journal_on_a_server_is_looked_at_too(state: Path, postgres_url: str) -> None:
    asked = patient(state, database=postgres_url)
    assert "not there yet" in (await database.journal(asked)).detail.lower()
    journal = await Journal.open(postgres_url, UserId("@bot:fake.localhost"), "DEVICE")
    await journal.close()
    found = await database.journal(asked)
    assert (found.level, found.detail[:13]) == ("ok", "Whole, schema")


# --- the lock ---------------------------------------------------------------------------------


def test_a_running_adapter_is_told_with_its_process(state: Path) -> None:
    found, pid = database.running(patient(state))
    assert (found.level, pid) == ("ok", None)
    assert list(state.iterdir()) == []
    with StateLock.acquire(state, "matrix", what="A test"):
        found, pid = database.running(patient(state))
        assert (found.level, pid) == ("ok", os.getpid())
        assert str(os.getpid()) in found.detail
    assert database.running(patient(state))[1] is None
    StateLock.acquire(state, "matrix", what="A test").release()


def test_a_lock_without_a_number_is_held_by_somebody(state: Path) -> None:
    with StateLock.acquire(state, "matrix", what="A test") as lock:
        lock.path.write_text("")
        assert database.running(patient(state))[1] == 0


def test_a_lock_that_can_not_be_read_is_an_error(state: Path) -> None:
    (state / "matrix.lock").symlink_to("matrix.lock")
    with pytest.raises(StateError, match=r"matrix\.lock"):
        database.running(patient(state))
