"""What every implementation of `sdk.interface.Platform` promises of memories that move: what is in
an archive, and into which threads it may go."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.core.ids import ThreadId
from antiphon.errors import AgentProtocolError, AgentUnreachableError
from antiphon.testing.platform_worlds import KINDS, PLACE, World, a_run, last_of, platform_world


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with platform_world(request.param, tmp_path) as world:
        yield world


async def a_new_thread(world: World) -> ThreadId:
    chat = await world.platform.chat(PLACE)
    return (await world.platform.new_session(chat.chat_id, "another")).thread_id


async def test_a_memory_moves_into_a_new_thread(world: World) -> None:
    """Its runs are known there: asked for again they end as they did, and no model is asked.
    Importing again changes nothing; the old thread stays as it is."""
    run = await a_run(world)
    before = await last_of(world, run)
    archive = await world.platform.export_thread(run.thread_id)
    assert archive is not None
    thread_id = await a_new_thread(world)
    await world.platform.import_thread(thread_id, archive)
    await world.platform.import_thread(thread_id, archive)
    after = await last_of(world, await a_run(world))
    assert (after.text, after.outcome) == (before.text, before.outcome)
    assert world.begun() == 1
    assert await world.platform.export_thread(thread_id) is not None
    assert await world.platform.export_thread(run.thread_id) == archive
    assert (await last_of(world, await a_run(world, "t2.0", "more"))).text == "You said: more"
    assert world.begun() == 2


async def test_what_an_agent_does_not_know_has_no_archive(world: World) -> None:
    """A new thread, one that never was, a forgotten one."""
    run = await a_run(world)
    assert await world.platform.export_thread(run.thread_id) is None
    assert await world.platform.export_thread(ThreadId("never-heard-of-it")) is None
    await last_of(world, run)
    await world.platform.forget(run.thread_id)
    assert await world.platform.export_thread(run.thread_id) is None


async def test_open_and_withdrawn_runs_are_in_no_archive(world: World) -> None:
    """Only what has ended, and nobody took back."""
    gate = asyncio.Event()
    await last_of(world, await a_run(world, "t1.0", "kept"))
    taken_back = await a_run(world, "t2.0", "secret")
    await last_of(world, taken_back)
    await world.platform.withdraw(taken_back.thread_id, taken_back.run_id)
    world.reply("some", gate)
    archive = None
    async for progress in world.platform.answer(await a_run(world, "t3.0", "open")):
        if progress.text and archive is None:
            archive = await world.platform.export_thread(taken_back.thread_id)
            gate.set()
    assert archive is not None
    assert b"kept" in archive
    assert b"secret" not in archive
    assert b"t3.0" not in archive


async def test_a_forgotten_thread_takes_no_memory(world: World) -> None:
    """Its id never comes back."""
    run = await a_run(world)
    await last_of(world, run)
    archive = await world.platform.export_thread(run.thread_id)
    assert archive is not None
    await world.platform.forget(run.thread_id)
    with pytest.raises(AgentProtocolError) as caught:
        await world.platform.import_thread(run.thread_id, archive)
    assert caught.value.code == "thread_gone"


async def test_a_thread_with_another_memory_takes_none(world: World) -> None:
    """Neither one that goes on after the same beginning, nor another one."""
    run = await a_run(world)
    await last_of(world, run)
    archive = await world.platform.export_thread(run.thread_id)
    assert archive is not None
    await last_of(world, await a_run(world, "t2.0", "more"))
    with pytest.raises(AgentProtocolError) as caught:
        await world.platform.import_thread(run.thread_id, archive)
    assert caught.value.code == "conflict"


@pytest.mark.parametrize("rubbish", [b"x", b"{}", b"\xff\x00", b'{"kind": 1}'])
async def test_rubbish_is_no_archive(world: World, rubbish: bytes) -> None:
    """Refused, and the thread stays new."""
    run = await a_run(world)
    with pytest.raises(AgentProtocolError) as caught:
        await world.platform.import_thread(run.thread_id, rubbish)
    assert caught.value.code == "bad_archive"
    assert await world.platform.export_thread(run.thread_id) is None
    assert (await last_of(world, run)).text == "You said: hello"


async def test_without_the_agent_no_memory_moves(world: World) -> None:
    """The caller learns that nobody answers."""
    run = await a_run(world)
    await last_of(world, run)
    await world.unreachable()
    with pytest.raises(AgentUnreachableError):
        await world.platform.export_thread(run.thread_id)
    with pytest.raises(AgentUnreachableError):
        await world.platform.import_thread(run.thread_id, b"x")
