"""`antiphon matrix reconcile --dry-run`: says what a run would do, and changes nothing anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.adapter.matrix.preview import preview
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.transport.login import StoredLogin, save
from antiphon.clock import SystemClock
from antiphon.errors import (
    AntiphonError,
    HomeserverUnreachableError,
    LoginError,
    SettingsError,
    StateError,
)
from antiphon.settings import General, MatrixSettings, Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path / "state")
        made.state.mkdir()
        made.room = server.room(made.ada, made.bot)
        save(made.state, StoredLogin(made.bot, "DEVICE", made.adapter.token, server.url))
        yield made


async def look(world: World, **settings: Any) -> Report:
    """A dry run, which must leave files and homeserver as they are."""
    files, asked = contents(world.state), len(world.server.requests)
    matrix = MatrixSettings(
        homeserver=world.server.url,
        **{"user": world.bot, "allow": ("@*:fake.localhost",), **settings},
    )
    try:
        general = General(state_dir=str(world.state))
        return await preview(general, matrix, SystemClock())
    finally:
        assert contents(world.state) == files
        for request in world.server.requests[asked:]:
            assert request.op in ("whoami", "joined_rooms", "sync")
            assert "since" not in request.query
            assert request.op != "sync" or request.query["set_presence"] == "offline"


def contents(folder: Path) -> dict[str, str]:
    """Each file's content, without SQLite's index of its log (it holds no data)."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder.iterdir() if folder.exists() else ())
        if not file.name.endswith("-shm")
    }


async def test_before_a_first_start_it_says_which_rooms_would_be_adopted(world: World) -> None:
    report = await look(world)
    assert report.first_start
    assert report.adopted == [world.room]
    assert "There is no journal yet" in "\n".join(report.lines())


async def test_it_says_what_a_run_would_do(world: World) -> None:
    await world.adapter.reconcile()
    eve, new = "@eve:evil.example", world.server.room(world.ada, world.bot)
    wanted, unwanted = world.server.room(world.ada), world.server.room(eve)
    world.server.membership(wanted, world.bot, "invite", by=world.ada)
    world.server.membership(unwanted, world.bot, "invite", by=eve)
    world.server.membership(world.room, world.bot, "leave", by=world.ada)
    report = await look(world)
    assert (report.adopted, report.closed) == ([new], [world.room])
    assert {(i.room_id, i.inviter, i.allowed) for i in report.invites} == {
        (wanted, world.ada, True),
        (unwanted, eve, False),
    }
    said = "\n".join(report.lines())
    assert "Nothing was changed" in said
    assert f"rooms to adopt, without answering their history (1): {new}" in said
    assert f"invite into {unwanted} by {eve}: to decline ([matrix] allow, invite, rooms)" in said
    assert "Only a real run can tell:" in said
    found = msgspec.json.decode(report.as_json())
    assert (found["dry_run"], found["nothing_to_do"], found["left"]) == (True, False, None)
    assert len(found["unknown"]) == 3


async def test_it_says_what_is_owed(world: World) -> None:
    """Also what a killed process left in its write-ahead log."""
    gate = asyncio.Event()
    world.platform.reply("half", gate)
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.ask("one")
            world.ask("two")
            await world.server.until(lambda: world.shown() == ["half"])
            await world.adapter.crash(task)
    report = await look(world)
    assert (report.owed.running, report.owed.queued, report.owed.turns_for_agent) == (1, 1, 2)
    assert not report.nothing


async def test_where_there_is_nothing_it_says_so(world: World) -> None:
    await world.adapter.reconcile()
    report = await look(world)
    assert report.nothing
    assert "Nothing to do" in "\n".join(report.lines())


async def test_it_works_beside_a_running_adapter_and_takes_nothing_from_it(world: World) -> None:
    """No lock, no lease, no message."""
    async with world.adapter.running() as task:
        files = {f for f in world.state.iterdir() if "-" not in f.name}
        general = General(state_dir=str(world.state))
        matrix = MatrixSettings(homeserver=world.server.url, user=world.bot, allow=("*",))
        report = await preview(general, matrix, SystemClock())
        assert report.nothing
        world.ask("hi")
        await world.answered()
        assert not task.done()
        assert {f for f in world.state.iterdir() if "-" not in f.name} == files


async def test_messages_to_the_device_stay_where_they_are(world: World) -> None:
    """A sync with a `since` would delete them; ours has none."""
    await world.adapter.reconcile()
    world.server.send_to_device(world.bot, {"type": "m.room_key", "content": {}})
    await look(world)
    assert len(world.server.to_device[world.bot]) == 1


async def test_another_device_is_a_warning(world: World) -> None:
    await world.adapter.reconcile()
    report = await look(world, access_token=world.server.token(world.bot, "OTHER"))
    assert (report.device_changed, report.device_id) == (True, "OTHER")
    assert not report.nothing


async def test_a_lost_cursor_is_said(world: World) -> None:
    await world.adapter.reconcile()
    with sqlite3.connect(world.state / "matrix.db") as database:
        database.execute("UPDATE account SET next_batch = NULL")
    database.close()
    assert (await look(world)).cursor_lost


async def refused(world: World, error: type[AntiphonError], **settings: Any) -> str:
    with pytest.raises(error) as caught:
        await look(world, **settings)
    assert not world.server.asked("login")
    return caught.value.message


async def test_without_a_login_it_makes_none(world: World) -> None:
    """Exit code 2, also where a password would make one."""
    (world.state / "matrix-login.json").unlink()
    assert "There is no login" in await refused(world, SettingsError, password=Secret("password"))
    world.state.rmdir()
    await refused(world, SettingsError, password=Secret("password"))
    assert not world.state.exists()


async def test_a_login_that_no_longer_works_is_not_replaced(world: World) -> None:
    world.server.revoke(world.bot)
    assert "dry run" in await refused(world, SettingsError, password=Secret("password"))
    assert "does not accept" in await refused(world, LoginError, access_token=Secret("wrong"))


async def test_another_accounts_state_is_refused_before_anything_is_asked(world: World) -> None:
    await world.adapter.reconcile()
    asked = len(world.server.requests)
    assert "belongs to @bot" in await refused(world, StateError, user="@other:fake.localhost")
    assert len(world.server.requests) == asked
    token = world.server.token(world.ada)
    assert "belongs to @bot" in await refused(world, StateError, user="", access_token=token)


async def test_a_homeserver_that_is_away_is_an_error(world: World) -> None:
    await world.adapter.reconcile()
    matrix = MatrixSettings(homeserver="http://127.0.0.1:9", user=world.bot)
    save(world.state, StoredLogin(world.bot, "DEVICE", Secret("x"), "http://127.0.0.1:9"))
    with pytest.raises(HomeserverUnreachableError):
        await preview(General(state_dir=str(world.state)), matrix, SystemClock())


async def test_a_damaged_journal_is_refused(world: World) -> None:
    (world.state / "matrix.db").write_bytes(b"a letter to my mother\n" * 500)
    with pytest.raises(StateError) as caught:
        await look(world)
    assert caught.value.exit_code == 2


async def test_a_journal_on_a_server_is_only_read_too(world: World, postgres_url: str) -> None:
    """Nothing is made in an empty one, and a whole life of the adapter works on it."""
    assert (await look(world, database=postgres_url)).first_start
    adapter = world.life(database=postgres_url)
    save(world.state, StoredLogin(world.bot, "DEVICE", adapter.token, world.server.url))
    await adapter.reconcile()
    world.ask("hi")
    async with adapter.running():
        await world.answered()
    other = world.server.room(world.ada, world.bot)
    assert (await look(world, database=postgres_url)).adopted == [other]
    assert (await adapter.reconcile()).adopted == [other]
    assert (await look(world, database=postgres_url)).nothing
    assert not (world.state / "matrix.db").exists()
