"""What the doctor says of the login, without ever making one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.doctor import login as check
from antiphon.adapter.matrix.doctor.login import Looked
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import FILE_NAME, StoredLogin, save
from antiphon.errors import HomeserverUnreachableError, SettingsError
from antiphon.settings import Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import answer, error, html
from antiphon.testing.patient import patient
from antiphon.testing.world import World

NONE = Secret("")


@pytest.fixture
async def world(homeserver: FakeHomeserver, tmp_path: Path) -> World:
    made = World(homeserver, tmp_path / "state")
    made.state.mkdir(mode=0o700)
    made.room = homeserver.room(made.ada, made.bot)
    return made


def keep(world: World, **more: Any) -> None:
    """Keeps a login that works; `more` changes it."""
    fields: dict[str, Any] = {
        "user_id": world.bot,
        "device_id": "DEVICE",
        "access_token": world.adapter.token,
        "homeserver": world.server.url,
    }
    save(world.state, StoredLogin(**fields | more))


async def look(world: World, **settings: Any) -> Looked:
    """The check, which must make no login and leave the one in the folder as it is."""
    file = world.state / FILE_NAME
    before = file.read_bytes() if file.exists() else None
    asked = patient(world.state, homeserver=world.server.url, **settings)
    try:
        async with MatrixClient(world.server.url) as client:
            found = await check.look(asked, client)
    finally:
        assert not world.server.asked("login")
        assert (file.read_bytes() if file.exists() else None) == before
    assert "token-" not in repr(found.finding)
    return found


async def test_a_login_that_works_is_ok_with_account_and_device(world: World) -> None:
    keep(world)
    found = await look(world)
    assert found.finding.level == "ok"
    assert f"{world.bot} on device DEVICE" in found.finding.detail
    assert found.found is not None
    await world.adapter.reconcile()
    assert (await look(world)).finding.level == "ok"


async def test_an_access_token_that_works_is_ok(world: World) -> None:
    found = await look(world, access_token=world.adapter.token, password=NONE)
    assert (found.finding.level, found.found is not None) == ("ok", True)


async def test_before_the_first_start_with_a_password_it_is_not_signed_in_yet(
    world: World,
) -> None:
    found = await look(world)
    assert (found.finding.level, found.expected, found.found) == ("ok", True, None)
    assert "Not signed in yet" in found.finding.detail


async def test_without_login_and_password_it_is_a_failure(world: World) -> None:
    found = await look(world, password=NONE)
    assert (found.finding.level, found.expected) == ("failure", False)
    assert "[matrix] password" in found.finding.todo


async def test_a_homeserver_without_passwords_is_a_failure(world: World) -> None:
    world.server.fail("login_flows", answer(b'{"flows": [{"type": "m.login.sso"}]}'))
    found = await look(world)
    assert found.finding.level == "failure"
    assert "access_token" in found.finding.todo


@pytest.mark.parametrize("fault", [html(), answer(b"{}"), error(404, "M_UNRECOGNIZED")])
async def test_one_that_does_not_say_may_take_them(world: World, fault: Any) -> None:
    world.server.fail("login_flows", fault)
    assert (await look(world)).expected


async def test_a_revoked_login_is_a_failure_that_says_what_to_do(world: World) -> None:
    keep(world)
    world.server.revoke(world.bot)
    found = await look(world)
    assert found.finding.level == "failure"
    assert "does not accept the stored login" in found.finding.detail
    assert "Start the adapter again" in found.finding.todo
    assert "[matrix] password" in (await look(world, password=NONE)).finding.todo


async def test_an_access_token_that_is_not_accepted_is_a_failure(world: World) -> None:
    found = await look(world, access_token=Secret("hush"))
    assert found.finding.level == "failure"
    assert "[matrix] access_token" in found.finding.todo
    assert "hush" not in repr(found.finding)


async def test_an_access_token_of_another_account_is_a_failure(world: World) -> None:
    found = await look(world, access_token=world.server.token(world.ada))
    assert found.finding.level == "failure"
    assert world.ada in found.finding.detail


async def test_another_device_than_the_journals_is_a_warning(world: World) -> None:
    await world.adapter.reconcile()
    found = await look(world, access_token=world.server.token(world.bot, "OTHER"))
    assert found.finding.level == "warning"
    assert "another device than the journal's (DEVICE)" in found.finding.detail
    assert found.found is not None


async def test_a_login_of_another_account_than_the_journals_is_a_failure(world: World) -> None:
    await world.adapter.reconcile()
    found = await look(world, user="", access_token=world.server.token(world.ada))
    assert found.finding.level == "failure"
    assert f"Set [matrix] user to {world.bot}" in found.finding.todo


async def test_a_login_for_another_homeserver_is_a_warning_and_is_not_sent_there(
    world: World,
) -> None:
    keep(world, homeserver="https://elsewhere.example")
    for password in (NONE, Secret("password")):
        found = await look(world, password=password)
        assert found.finding.level == "warning"
        assert "https://elsewhere.example" in found.finding.detail
    assert not world.server.asked("whoami")


async def test_a_login_of_another_user_counts_for_none(world: World) -> None:
    keep(world, user_id=world.ada)
    assert (await look(world)).expected
    assert (await look(world, password=NONE)).finding.level == "failure"


async def test_a_damaged_login_file_is_a_failure(world: World) -> None:
    (world.state / FILE_NAME).write_text("{")
    found = await look(world)
    assert found.finding.level == "failure"
    assert f"Delete {world.state / FILE_NAME}" in found.finding.todo


async def test_a_damaged_journal_hides_no_working_login(world: World) -> None:
    keep(world)
    (world.state / "matrix.db").write_bytes(b"a letter to my mother\n" * 500)
    assert (await look(world)).finding.level == "ok"


async def test_trouble_at_the_homeserver_is_an_error(world: World) -> None:
    keep(world)
    world.server.fail("whoami", html())
    with pytest.raises(HomeserverUnreachableError):
        await look(world)
    with pytest.raises(SettingsError, match="No account"):
        await look(world, user="")
