"""Signing in: which login is used, and the file that keeps it."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.adapter.matrix.transport import login as logins
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import StoredLogin, is_same_user, resume, sign_in
from antiphon.errors import (
    HomeserverUnreachableError,
    LoginError,
    RateLimitedError,
    SettingsError,
    StateError,
)
from antiphon.settings import MatrixSettings, Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver

BOT = "@bot:fake.localhost"
SETTINGS = MatrixSettings(user=BOT, password=Secret("pw"))


@pytest.fixture
async def client(homeserver: FakeHomeserver) -> AsyncIterator[MatrixClient]:
    homeserver.account("bot", "pw")
    homeserver.account("ada", "pw")
    async with MatrixClient(homeserver.url) as opened:
        yield opened


async def test_the_first_login_is_by_password_and_the_next_uses_its_token(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    first = await sign_in(client, SETTINGS, None)
    assert (first.user_id, first.homeserver) == (BOT, homeserver.url)
    assert await sign_in(client, SETTINGS, first) == first
    assert len(homeserver.asked("login")) == 1


async def test_a_dead_token_is_replaced_on_the_same_device(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    first = await sign_in(client, SETTINGS, None)
    homeserver.revoke(BOT)
    second = await sign_in(client, SETTINGS, first)
    assert second.device_id == first.device_id
    assert second.access_token != first.access_token
    assert (await client.whoami()).device_id == first.device_id


async def test_where_the_login_is_lost_the_known_device_is_kept(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    """The journal knows it too: a new one would be another namespace of transaction ids."""
    assert (await sign_in(client, SETTINGS, None, known_device="KNOWN")).device_id == "KNOWN"
    stored = StoredLogin(BOT, "STORED", Secret("dead"), homeserver.url)
    assert (await sign_in(client, SETTINGS, stored, known_device="KNOWN")).device_id == "STORED"


async def test_taking_up_a_login_makes_none(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    """Whatever the settings and the file hold."""
    assert await resume(client, SETTINGS, None) is None
    stored = StoredLogin(BOT, "DEV", homeserver.token(BOT, "DEV"), homeserver.url)
    assert await resume(client, SETTINGS, stored) == stored
    homeserver.revoke(BOT)
    assert await resume(client, SETTINGS, stored) is None
    assert homeserver.asked("login") == []


async def test_another_users_stored_login_is_left_alone(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    ada = "@ada:fake.localhost"
    stored = StoredLogin(ada, "ADAS", homeserver.token(ada, "ADAS"), homeserver.url)
    now = await sign_in(client, SETTINGS, stored)
    assert now.user_id == BOT
    assert now.device_id != "ADAS"
    assert homeserver.asked("whoami") == []


async def test_a_stored_token_goes_to_no_other_homeserver_but_the_device_is_kept(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    stored = StoredLogin(BOT, "KEPT", Secret("other"), "https://elsewhere.example.org")
    assert (await sign_in(client, SETTINGS, stored)).device_id == "KEPT"
    assert homeserver.asked("whoami") == []


async def test_an_unreachable_homeserver_does_not_cost_the_stored_login(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    stored = await sign_in(client, SETTINGS, None)
    homeserver.fail("whoami", faults.html(502))
    with pytest.raises(HomeserverUnreachableError):
        await sign_in(client, SETTINGS, stored)
    homeserver.fail("whoami", faults.limited(100))
    with pytest.raises(RateLimitedError):
        await sign_in(client, SETTINGS, stored)
    assert len(homeserver.asked("login")) == 1


async def test_an_access_token_from_the_settings_is_used_with_its_own_device(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    token = homeserver.token(BOT, "GIVEN")
    for user in (BOT, "bot", ""):
        login = await sign_in(client, MatrixSettings(user=user, access_token=token), None)
        assert login == StoredLogin(BOT, "GIVEN", token, homeserver.url)


async def test_an_access_token_of_somebody_else_is_refused(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    settings = MatrixSettings(user=BOT, access_token=homeserver.token("@ada:fake.localhost"))
    with pytest.raises(LoginError, match="@ada"):
        await sign_in(client, settings, None)


async def test_an_access_token_that_does_not_work_is_refused(client: MatrixClient) -> None:
    with pytest.raises(LoginError, match="access_token"):
        await sign_in(client, MatrixSettings(access_token=Secret("nonsense")), None)


async def test_a_token_without_a_device_is_refused(
    homeserver: FakeHomeserver, client: MatrixClient
) -> None:
    homeserver.fail("whoami", faults.answer(b'{"user_id": "@bot:fake.localhost"}'))
    with pytest.raises(LoginError, match="device"):
        await sign_in(client, MatrixSettings(access_token=Secret("as")), None)


@pytest.mark.parametrize("settings", [MatrixSettings(), MatrixSettings(user=BOT)])
async def test_too_little_to_log_in_with_says_what_to_set(
    client: MatrixClient, settings: MatrixSettings
) -> None:
    with pytest.raises(SettingsError, match="password"):
        await sign_in(client, settings, None)


async def test_a_wrong_password_is_a_login_error(client: MatrixClient) -> None:
    with pytest.raises(LoginError):
        await sign_in(client, MatrixSettings(user=BOT, password=Secret("no")), None)


def test_a_user_may_be_set_by_id_or_localpart() -> None:
    assert all(is_same_user(name, BOT) for name in (BOT, "bot", "@bot", "Bot", " bot "))
    assert not any(is_same_user(name, BOT) for name in ("bo", "@bot:fake", "ada", ""))


def test_a_login_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert logins.load(state) is None
    for token in ("one", "two"):
        login = StoredLogin(BOT, "D", Secret(token), "http://x")
        logins.save(state, login)
        assert logins.load(state) == login
    file = state / logins.FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert [entry.name for entry in state.iterdir()] == [logins.FILE_NAME]
    assert "two" not in repr(logins.load(state))


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"user_id": 3}', b"[]"])
def test_a_damaged_file_is_a_clear_error_and_not_a_new_device(
    tmp_path: Path, damage: bytes
) -> None:
    (tmp_path / logins.FILE_NAME).write_bytes(damage)
    with pytest.raises(StateError, match="damaged"):
        logins.load(tmp_path)


def test_a_file_of_a_later_version_is_still_read(tmp_path: Path) -> None:
    kept = {"user_id": BOT, "device_id": "D", "access_token": "t", "more": 1}
    (tmp_path / logins.FILE_NAME).write_bytes(msgspec.json.encode(kept))
    assert logins.load(tmp_path) == StoredLogin(BOT, "D", Secret("t"), "")


def test_a_folder_that_cannot_be_written_is_a_state_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match=logins.FILE_NAME):
        logins.save(blocked / "state", StoredLogin(BOT, "D", Secret("t")))
