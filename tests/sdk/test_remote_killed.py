"""A surface process that is killed (SIGKILL) while changes wait for its control plane: all of them
arrive, each once, in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.core.scopes import Scope
from antiphon.testing.remote_process import PLACE
from antiphon.testing.remote_worlds import RemoteWorld, remote_state, remote_world

STEPS = 3


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RemoteWorld]:
    async with remote_world(tmp_path, lambda: None) as world:
        yield world


async def life(
    world: RemoteWorld, folder: Path, *more: str, crash: str = ""
) -> tuple[int, list[str]]:
    """One life of the process: its exit code, and the threads that it was given."""
    env = {**os.environ, "TOKEN": await world.plane.token(), "ANTIPHON_CRASH": crash}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon.testing.remote_process"),
        *(world.plane.url, str(folder / "here"), str(STEPS), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=env,
    )
    async with asyncio.timeout(90):
        out, _ = await child.communicate()
    lines = [line.split() for line in out.decode().splitlines()]
    return child.returncode or 0, [line[1] for line in lines if line[0] == "thread"]


@pytest.mark.parametrize(
    ("at_first", "at_return"),
    [
        ("remote.queued", ""),
        pytest.param("remote.queued@4", "", marks=pytest.mark.slow),
        ("remote.queued@6", "remote.told"),
        pytest.param("", "remote.told@3", marks=pytest.mark.slow),
        pytest.param("", "remote.told@5", marks=pytest.mark.slow),
    ],
)
async def test_all_arrives_once_and_in_order(
    world: RemoteWorld, tmp_path: Path, at_first: str, at_return: str
) -> None:
    """Killed when it had written a change down, and when it had told one; after the last life the
    control plane has what every life was given, and nothing else."""
    async with remote_state(tmp_path / "here", world.plane.url, await world.plane.token()) as state:
        await state.chat(PLACE)
    await world.plane.stop()
    code, first = await life(world, tmp_path, crash=at_first)
    assert code == (-signal.SIGKILL if at_first else 0)
    await world.plane.start()
    if at_return:
        code, second = await life(world, tmp_path, "--wait", crash=at_return)
        assert code == -signal.SIGKILL
        assert second[: len(first)] == first[: len(second)]
    code, last = await life(world, tmp_path, "--wait")
    assert (code, last[: len(first)], len(last)) == (0, first, STEPS)
    other = await world.open()
    chat = await other.chat(PLACE)
    assert [one.thread_id for one in await other.sessions(chat.chat_id)][1:] == last
    assert chat.session.thread_id == last[-1]
    assert await other.settings(Scope("room", "matrix", PLACE.room)) == {"queued_turns": STEPS}
    assert (await other.usage(since_ms=0)).turns == STEPS
