"""The adapter's commands where `[master] url` names a control plane: a wrong token ends a start, a
start without it waits, the doctor looks at it, and what can't be done here says so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.doctor import database
from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.settings import MasterSettings, Secret
from antiphon.testing.control_plane import ControlPlane
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.patient import patient
from antiphon.testing.processes import Process
from antiphon.testing.remote_worlds import remote_state


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with ControlPlane(tmp_path / "master") as plane:
        yield plane


def adapter(server: FakeHomeserver, plane: ControlPlane, token: str, folder: Path) -> Process:
    return Process(
        "adapter",
        ("matrix", "run"),
        {
            "ANTIPHON_STATE_DIR": str(folder / "state"),
            "ANTIPHON_LOG_FORMAT": "json",
            "ANTIPHON_AGENT__URL": "ws://127.0.0.1:9/agent_ws/",
            "ANTIPHON_AGENT__TOKEN": "a-token-of-the-tests-0123456789",
            "ANTIPHON_MATRIX__HOMESERVER": server.url,
            "ANTIPHON_MATRIX__USER": server.account("bot"),
            "ANTIPHON_MATRIX__PASSWORD": "password",
            "ANTIPHON_MASTER__URL": plane.url,
            "ANTIPHON_MASTER__TOKEN": token,
        },
        folder,
    )


@pytest.mark.slow
async def test_a_token_that_is_not_accepted_ends_a_start_with_what_to_do(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """Exit code 2; one of another surface is none either."""
    async with FakeHomeserver() as server:
        for token in ("antiphon-none-of-ours", await plane.token("terminal")):
            ended = await adapter(server, plane, token, tmp_path).once()
            assert ended.code == 2, ended.err
            assert "The control plane at" in ended.err
        assert (
            "antiphon master token"
            in (await adapter(server, plane, "antiphon-none-of-ours", tmp_path).once()).err
        )


async def test_a_bot_starts_and_its_chats_are_there(plane: ControlPlane, tmp_path: Path) -> None:
    """And `control.db` lies in its state folder, no `state.db`."""
    async with FakeHomeserver() as server:
        process = adapter(server, plane, await plane.token(), tmp_path)
        await process.start()
        assert await process.stop() == 0
    assert (tmp_path / "state" / "control.db").exists()
    assert not (tmp_path / "state" / "state.db").exists()


async def test_backup_and_a_reset_with_one_are_refused(plane: ControlPlane, tmp_path: Path) -> None:
    """With a sentence that says where the chats are."""
    async with FakeHomeserver() as server:
        process = adapter(server, plane, await plane.token(), tmp_path)
        for command in (
            ("matrix", "backup"),
            ("matrix", "reset", "--mode", "local-only", "--yes"),
        ):
            ended = await process.once(*command)
            assert ended.code == 2, ended.err
            assert f"The control plane at {plane.url} keeps" in ended.err


async def test_the_doctor_looks_at_the_control_plane(plane: ControlPlane, tmp_path: Path) -> None:
    """It answers; it is away; it does not accept the token."""
    token = await plane.token()
    found = []
    for url, given in (
        (plane.url, token),
        ("http://127.0.0.1:9", token),
        (plane.url, "antiphon-none-of-ours"),
    ):
        master = MasterSettings(url=url, token=Secret(given))
        found.append(await database.chats(patient(tmp_path, master=master)))
    assert [one.level for one in found] == ["ok", "warning", "failure"]
    assert "0 roles and 0 settings" in found[0].detail
    assert "can't be reached" in found[1].detail
    assert "does not accept our token" in found[2].detail


async def test_a_reset_forgets_the_chats_at_the_control_plane(
    plane: ControlPlane, tmp_path: Path
) -> None:
    """The plan names them, though nothing is known of them here; then they are not there."""
    async with FakeHomeserver() as server:
        bot, ada = server.account("bot"), server.account("ada")
        room = server.room(ada, bot)
        process = adapter(server, plane, await plane.token(), tmp_path)
        await process.start()
        assert await process.stop() == 0
        async with remote_state(tmp_path / "other", plane.url, await plane.token()) as state:
            chat = await state.chat(Place("matrix", UserId(bot), RoomId(room)))
            reset = ("matrix", "reset", "--mode", "local-only", "--keep-memory")
            planned = await process.once(*reset, "--dry-run", "--json")
            assert planned.code == 0, planned.err
            (planned_room,) = json.loads(planned.out)["plan"]["rooms"]
            assert planned_room["sessions"] == 1
            done = await process.once(*reset, "--yes", "--no-backup")
            assert done.code == 0, done.err
            assert await state.chats("matrix", UserId(bot)) == ()
            assert await state.is_retired(chat.session.thread_id)
