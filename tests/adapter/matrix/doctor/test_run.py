"""All checks together: order, time limits, and that one that fails hides no other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.adapter.matrix.doctor.finding import TITLES, Diagnosis, Finding
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.doctor.run import diagnose
from antiphon.adapter.matrix.transport.login import StoredLogin, save
from antiphon.errors import HomeserverUnreachableError, SettingsError
from antiphon.sdk.interface import Platform
from antiphon.settings import Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import held, html
from antiphon.testing.patient import patient
from antiphon.testing.platform import FakePlatform
from antiphon.testing.world import World

AFTER_LOGIN = ("limits", "rooms", "encryption")


@pytest.fixture
async def world(homeserver: FakeHomeserver, tmp_path: Path) -> World:
    """A bot that has run before, in one room."""
    made = World(homeserver, tmp_path / "state")
    made.state.mkdir(mode=0o700)
    made.room = homeserver.room(made.ada, made.bot)
    save(made.state, StoredLogin(made.bot, "DEVICE", made.adapter.token, homeserver.url))
    await made.adapter.reconcile()
    return made


def of(world: World, **more: Any) -> Patient:
    usual: dict[str, Any] = {"homeserver": world.server.url, "platform": world.platform}
    return patient(world.state, **usual | more)


async def look(asked: Patient, **more: Any) -> tuple[Diagnosis, dict[str, Finding]]:
    told: list[Finding] = []
    diagnosis = await diagnose(asked, told.append, **more)
    assert tuple(told) == diagnosis.findings
    assert [f.id for f in told] == [i for i in TITLES if i != "model" or asked.with_model]
    for found in told:
        assert bool(found.todo) == (found.level != "ok"), found
    return diagnosis, {finding.id: finding for finding in told}


def contents(folder: Path) -> dict[str, str]:
    """Each file's content, without SQLite's index of its log (it holds no data)."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
        if not file.name.endswith("-shm")
    }


async def test_where_all_is_well_all_is_ok_and_nothing_has_changed(world: World) -> None:
    files, asked = contents(world.state), len(world.server.requests)
    diagnosis, found = await look(of(world))
    assert (diagnosis.worst, diagnosis.exit_code) == ("ok", 0), found
    assert contents(world.state) == files
    for request in world.server.requests[asked:]:
        assert request.op in (
            *("versions", "federation_version", "synapse_version", "whoami"),
            *("joined_rooms", "sync"),
        )
        assert "since" not in request.query
        assert request.op != "sync" or request.query["set_presence"] == "offline"


async def test_to_device_messages_stay_where_they_are(world: World) -> None:
    world.server.send_to_device(world.bot, {"type": "m.room_key", "content": {}})
    await look(of(world))
    assert len(world.server.to_device[world.bot]) == 1


async def test_before_the_first_start_all_is_ok_and_nothing_is_made(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    bot = homeserver.account("bot")
    world = World(homeserver, tmp_path / "none")
    diagnosis, found = await look(of(world))
    assert diagnosis.worst == "ok", found
    assert "not signed in yet" in found["rooms"].detail.lower()
    assert not (tmp_path / "none").exists()
    assert not homeserver.asked("login")
    assert bot == world.bot


async def test_beside_a_running_adapter_it_takes_nothing_from_it(world: World) -> None:
    async with world.adapter.running() as task:
        await look(of(world))
        world.ask("hi")
        await world.answered()
        assert not task.done()


async def test_a_homeserver_that_is_away_hides_nothing_else(world: World) -> None:
    world.server.fail("versions", html(), 9)
    diagnosis, found = await look(of(world))
    assert diagnosis.exit_code == 2
    assert [f.id for f in diagnosis.findings if f.level == "failure"] == ["homeserver"]
    assert "[matrix] homeserver" in found["homeserver"].todo
    for id_ in ("clock", "login", *AFTER_LOGIN):
        assert found[id_].detail == "Not looked at: see Homeserver."
    assert found["journal"].level == found["model"].level == "ok"


async def test_a_homeserver_that_is_silent_is_given_up(world: World) -> None:
    world.server.fail("versions", held(asyncio.Event()), 9)
    _, found = await look(of(world), check_s=0.3)
    assert found["homeserver"].level == "failure"
    assert found["homeserver"].detail == "No result within 0.3 s."


async def test_a_login_that_fails_hides_nothing_else(world: World) -> None:
    world.server.revoke(world.bot)
    _, found = await look(of(world))
    assert found["login"].level == "failure"
    assert {found[i].detail for i in AFTER_LOGIN} == {"Not looked at: see Login."}
    assert found["homeserver"].level == found["clock"].level == "ok"


async def test_trouble_while_signed_in_is_a_failure_of_its_own_check_alone(world: World) -> None:
    world.server.fail("joined_rooms", html())
    _, found = await look(of(world))
    assert (found["rooms"].level, found["encryption"].level) == ("failure", "warning")
    assert found["encryption"].detail == "Not looked at: see Rooms."
    assert found["limits"].level == found["login"].level == "ok"


async def test_a_damaged_journal_is_one_failure(world: World) -> None:
    (world.state / "matrix.db").write_bytes(b"a letter to my mother\n" * 500)
    diagnosis, found = await look(of(world))
    assert [f.id for f in diagnosis.findings if f.level == "failure"] == ["journal"]
    assert found["rooms"].detail == "Not looked at: see Journal."


async def test_settings_without_an_address_are_one_failure(world: World) -> None:
    diagnosis, found = await look(of(world, homeserver="nonsense"))
    assert [f.id for f in diagnosis.findings if f.level == "failure"] == ["settings"]
    assert found["login"].detail == "Not looked at: see Settings."
    assert found["agent"].level == "ok"


async def test_a_pattern_that_is_none_is_told_where_it_belongs(world: World) -> None:
    _, found = await look(of(world, allow=("ada",)))
    assert found["allow"].level == "failure"
    assert "'ada'" in found["allow"].detail
    assert found["agent"].level == "ok"


async def test_a_lock_that_can_not_be_read_hides_nothing_else(world: World) -> None:
    (world.state / "matrix.lock").unlink(missing_ok=True)
    (world.state / "matrix.lock").symlink_to("matrix.lock")
    diagnosis, _ = await look(of(world))
    assert [f.id for f in diagnosis.findings if f.level == "failure"] == ["running"]


async def test_an_agent_that_is_away_is_asked_no_question(world: World) -> None:
    world.platform.unreachable = True
    _, found = await look(of(world))
    assert found["agent"].level == "failure"
    assert found["model"].detail == "Not looked at: see Agent."
    assert world.platform.asks == []


async def test_without_model_there_is_no_such_line(world: World) -> None:
    await look(of(world, with_model=False))
    assert world.platform.asks == []


async def test_settings_without_an_agent_are_a_warning(world: World) -> None:
    _, found = await look(of(world, platform=None))
    assert found["agent"].level == "warning"
    assert "antiphon run" in found["agent"].todo


@asynccontextmanager
async def without(token: str) -> AsyncIterator[Platform]:
    if not token:
        raise SettingsError("There is no token for the agent: set ANTIPHON_AGENT__TOKEN.")
    yield FakePlatform()


async def test_an_agent_that_the_settings_name_wrongly_is_a_failure(world: World) -> None:
    def opened() -> AbstractAsyncContextManager[Platform]:
        return without("")

    _, found = await look(msgspec.structs.replace(of(world), platform=opened))
    assert found["agent"].level == "failure"
    assert "ANTIPHON_AGENT__TOKEN" in found["agent"].detail
    assert found["model"].detail == "Not looked at: see Agent."


async def test_findings_are_told_in_order_as_soon_as_they_are_known(world: World) -> None:
    """Those before the one that takes long are told before it ends."""
    gate = asyncio.Event()
    world.server.fail("whoami", held(gate))
    told: list[str] = []
    known = asyncio.Event()

    def tell(finding: Finding) -> None:
        told.append(finding.id)
        if finding.id == "clock":
            known.set()

    task = asyncio.create_task(diagnose(of(world), tell))
    async with asyncio.timeout(10):
        await known.wait()
    assert told == list(TITLES)[: list(TITLES).index("login")]
    assert not task.done()
    gate.set()
    await task
    assert told == list(TITLES)


async def test_no_secret_is_ever_in_it(world: World) -> None:
    token = world.adapter.token.reveal()
    asked = of(world, password=Secret("hush-pass"), access_token=Secret(token))
    for trouble in (False, True):
        if trouble:
            world.server.revoke(world.bot)
        diagnosis, _ = await look(asked)
        text = diagnosis.as_json("1").decode()
        assert token not in text
        assert "hush-pass" not in text


async def test_a_fault_of_ours_is_not_hidden(world: World) -> None:
    """Only errors that we know become findings."""

    def broken() -> AbstractAsyncContextManager[Platform]:
        raise RuntimeError("a bug")

    with pytest.raises(ExceptionGroup) as caught:
        await diagnose(msgspec.structs.replace(of(world), platform=broken), lambda _: None)
    assert caught.group_contains(RuntimeError)
    assert not caught.group_contains(HomeserverUnreachableError)
