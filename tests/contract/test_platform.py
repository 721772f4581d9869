"""What every implementation of `sdk.interface.Platform` promises: the shipped fake, and the real
one over local state and a WebSocket, before a fake agent and before the real one. Surfaces may
rely on exactly this."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from antiphon.core.ids import ChatId, EventId, RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place, Said
from antiphon.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    PlatformError,
)
from antiphon.sdk.interface import Outcome, Progress, Run, ToolUse
from antiphon.testing.agent_run import ended
from antiphon.testing.platform_worlds import (
    ANNA,
    KINDS,
    PLACE,
    World,
    a_run,
    all_of,
    last_of,
    platform_world,
)
from antiphon.testing.script import NextStep, Rewind


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with platform_world(request.param, tmp_path) as world:
        yield world


async def test_a_place_has_one_chat(world: World) -> None:
    """Asked again, or at once, it is the same chat with the same session."""
    chats = await asyncio.gather(*(world.platform.chat(PLACE) for _ in range(5)))
    assert len(set(chats)) == 1
    thread = Place("matrix", PLACE.account, PLACE.room, thread_root=EventId("$root"))
    other = await world.platform.chat(thread)
    assert other.chat_id != chats[0].chat_id
    assert other.session.thread_id != chats[0].session.thread_id


async def test_a_new_session_is_idempotent_by_its_request(world: World) -> None:
    """The same request is one session; the chat's current one is the newest."""
    chat = await world.platform.chat(PLACE)
    first = await world.platform.new_session(chat.chat_id, "turn-1")
    assert first.thread_id != chat.session.thread_id
    second = await world.platform.new_session(chat.chat_id, "turn-2")
    assert await world.platform.new_session(chat.chat_id, "turn-1") == first
    assert (await world.platform.chat(PLACE)).session == second


async def test_an_unknown_chat_is_refused(world: World) -> None:
    """PlatformError, with a code."""
    with pytest.raises(PlatformError) as caught:
        await world.platform.new_session(ChatId("nothing"), "turn-1")
    assert caught.value.code == "unknown_chat"


async def test_a_moved_chat_keeps_its_memory_and_moves_onto_no_other(world: World) -> None:
    """A room upgrade; repeated; and into a place that has a chat."""
    new = Place("matrix", PLACE.account, RoomId("!new:x"))
    chat = await world.platform.chat(PLACE)
    await world.platform.move_chat(PLACE, new)
    await world.platform.move_chat(PLACE, new)
    moved = await world.platform.chat(new)
    assert (moved.chat_id, moved.session) == (chat.chat_id, chat.session)
    again = await world.platform.chat(PLACE)
    await world.platform.move_chat(PLACE, new)
    assert await world.platform.chat(new) == moved
    assert await world.platform.chat(PLACE) == again


async def test_a_forgotten_chat_begins_anew_and_its_threads_are_never_used_again(
    world: World,
) -> None:
    """All its sessions, and no other chat's; repeated too."""
    chat = await world.platform.chat(PLACE)
    second = await world.platform.new_session(chat.chat_id, "turn-1")
    other = await world.platform.chat(Place("matrix", PLACE.account, RoomId("!other:x")))
    run = await a_run(world)
    threads = (chat.session.thread_id, second.thread_id)
    kept = await world.platform.chats(PLACE.account)
    assert [(k.place.room, k.threads) for k in kept] == [
        ("!other:x", (other.session.thread_id,)),
        ("!room:x", threads),
    ]
    assert await world.platform.chats(UserId("@another:x")) == ()
    for _ in range(2):
        await world.platform.forget_chat(PLACE)
    assert [k.place for k in await world.platform.chats(PLACE.account)] == [other.place]
    fresh = await world.platform.chat(PLACE)
    assert fresh.session.thread_id not in threads
    with pytest.raises(AgentProtocolError) as caught:
        await last_of(world, run)
    assert caught.value.code == "thread_gone"
    assert await world.platform.chat(other.place) == other


async def test_settings_are_left_to_the_agent_unless_set(world: World) -> None:
    """Nothing is set: every value is None."""
    chat = await world.platform.chat(PLACE)
    resolved = await world.platform.resolve(chat, ANNA)
    assert resolved.model is None
    assert resolved.tools is None


async def test_only_the_last_progress_has_an_outcome(world: World) -> None:
    """Text grows to the whole answer; then the outcome; then nothing."""
    gate = asyncio.Event()
    world.reply("one", gate, " two")
    seen: list[Progress] = []
    async for progress in world.platform.answer(await a_run(world)):
        seen.append(progress)
        if progress.text == "one":
            gate.set()
    assert [progress.outcome for progress in seen[:-1]] == [None] * (len(seen) - 1)
    assert ended(seen[-1]) == Outcome("success")
    assert seen[-1].text == "one two"
    assert all("one two".startswith(progress.text) for progress in seen)
    assert seen[-1].model in ("fake", "scripted")


async def test_steps_are_joined_by_a_blank_line_and_tools_are_shown(world: World) -> None:
    """Text, a tool while it runs and after, text of the next step."""
    gate, running = asyncio.Event(), ToolUse("clock", "{}")
    done = ToolUse("clock", "{}", "noon", "ok")
    world.reply("I look.", running, gate, done, "It is noon.", NextStep(), "", "Bye.")
    async for progress in world.platform.answer(await a_run(world)):
        if progress.tools == (running,):
            gate.set()
        last = progress
    assert last.text == "I look.\n\nIt is noon.\n\nBye."
    assert last.tools == (done,)


async def test_text_shrinks_when_a_run_is_resumed(world: World) -> None:
    """What the resumption voids is gone from the next progress on."""
    gate = asyncio.Event()
    world.reply("kept", NextStep(), "void", gate, Rewind(1), "new")
    texts = []
    async for progress in world.platform.answer(await a_run(world)):
        texts.append(progress.text)
        if progress.text == "kept\n\nvoid":
            gate.set()
    assert "kept\n\nvoid" in texts
    assert texts[-1] == "kept\n\nnew"


async def test_a_run_that_fails_ends_in_an_error_outcome(world: World) -> None:
    """Code, sentence and retryability arrive; nothing is raised."""
    failure = Outcome("error", "model_unavailable", "The model is away.", retryable=True)
    world.reply("so f", failure)
    last = await last_of(world, await a_run(world))
    assert ended(last) == failure
    assert last.text == "so f"


async def test_asking_again_attaches_and_asks_no_model_twice(world: World) -> None:
    """A reader that went away (or a surface that restarted) gets the same run's answer."""
    gate = asyncio.Event()
    world.reply("one", gate, " two")
    run = await a_run(world)
    async with aclosing(world.platform.answer(run)) as progress:
        async for now in progress:
            if now.text == "one":
                break
    gate.set()
    assert (await last_of(world, run)).text == "one two"
    assert (await all_of(world, run))[-1].text == "one two"
    assert world.begun() == 1


async def test_two_readers_of_one_run_get_the_same_answer(world: World) -> None:
    """Both are told the end."""
    gate = asyncio.Event()
    world.reply("one", gate, " two")
    run = await a_run(world)
    first = asyncio.ensure_future(last_of(world, run))
    second = asyncio.ensure_future(last_of(world, run))
    await asyncio.sleep(0.05)
    gate.set()
    assert (await first).text == (await second).text == "one two"
    assert world.begun() == 1


async def test_a_slow_reader_gets_the_newest_state(world: World) -> None:
    """However long it takes for one progress, it ends with the whole answer."""
    world.reply(*[f"{n} " for n in range(200)])
    count = 0
    async for progress in world.platform.answer(await a_run(world)):
        count += 1
        last = progress
        if count < 5:
            await asyncio.sleep(0.02)
    assert last.text == "".join(f"{n} " for n in range(200))
    assert ended(last) == Outcome("success")


async def test_another_body_under_the_same_run_is_a_conflict(world: World) -> None:
    """Refused with the code; the message is for a person."""
    await last_of(world, await a_run(world))
    with pytest.raises(AgentProtocolError) as caught:
        await last_of(world, await a_run(world, text="other"))
    assert caught.value.code == "conflict"


async def test_a_busy_thread_is_waited_for(world: World) -> None:
    """A run that is asked for while another is open begins when that has ended."""
    gate = asyncio.Event()
    world.reply("first", gate, " done")
    world.reply("second")
    first_run, second_run = await a_run(world, "t1.0"), await a_run(world, "t2.0")
    async with aclosing(world.platform.answer(first_run)) as progress:
        async for now in progress:
            if now.text == "first":
                break
    waiting = asyncio.ensure_future(last_of(world, second_run))
    await asyncio.sleep(0.05)
    assert world.begun() == 1
    gate.set()
    assert (await waiting).text == "second"
    assert (await last_of(world, first_run)).text == "first done"


async def test_a_cancel_ends_an_open_run_with_what_there_is(world: World) -> None:
    """And is idempotent."""
    world.reply("some", asyncio.Event())
    run = await a_run(world)
    async for progress in world.platform.answer(run):
        last = progress
        if progress.text == "some" and progress.outcome is None:
            await world.platform.cancel(run.thread_id, run.run_id)
            await world.platform.cancel(run.thread_id, run.run_id)
    assert ended(last) == Outcome("cancelled")
    assert last.text == "some"


async def test_a_cancel_before_the_start_holds(world: World) -> None:
    """The run ends as cancelled at once."""
    run = await a_run(world)
    await world.platform.cancel(run.thread_id, run.run_id)
    assert ended(await last_of(world, run)) == Outcome("cancelled")


async def test_a_withdrawn_run_ends(world: World) -> None:
    """Open: it is cancelled. Again: nothing happens."""
    world.reply("some", asyncio.Event())
    run = await a_run(world)
    async for progress in world.platform.answer(run):
        last = progress
        if progress.outcome is None and progress.text:
            await world.platform.withdraw(run.thread_id, run.run_id)
    assert ended(last) == Outcome("cancelled")
    await world.platform.withdraw(run.thread_id, run.run_id)


async def test_a_forgotten_thread_never_comes_back(world: World) -> None:
    """Its runs are refused, forgetting again is fine, and the chat has a new memory."""
    run = await a_run(world)
    await last_of(world, run)
    await world.platform.forget(run.thread_id)
    await world.platform.forget(run.thread_id)
    with pytest.raises(AgentProtocolError) as caught:
        await last_of(world, run)
    assert caught.value.code == "thread_gone"
    fresh = await a_run(world, "t2.0")
    assert fresh.thread_id != run.thread_id
    assert (await last_of(world, fresh)).text == "You said: hello"
    await world.platform.cancel(run.thread_id, run.run_id)
    await world.platform.withdraw(run.thread_id, run.run_id)


async def test_forgetting_a_thread_ends_its_open_run(world: World) -> None:
    """Whoever reads it is told, and does not wait for a time-out."""
    world.reply("some", asyncio.Event())
    run = await a_run(world)
    async for progress in world.platform.answer(run):
        last = progress
        if progress.outcome is None and progress.text:
            await world.platform.forget(run.thread_id)
    assert ended(last) == Outcome("cancelled")


async def test_a_withdrawn_run_stays_ended(world: World) -> None:
    """Asked for again, it ends as cancelled and begins nothing."""
    world.reply("some", asyncio.Event())
    run = await a_run(world)
    async for progress in world.platform.answer(run):
        if progress.outcome is None and progress.text:
            await world.platform.withdraw(run.thread_id, run.run_id)
    assert ended(await last_of(world, run)) == Outcome("cancelled")
    assert world.begun() == 1


@pytest.mark.slow
async def test_an_unreachable_agent_raises_and_check_says_so(world: World) -> None:
    """Every call that needs the agent; `check` never raises; chats work on."""
    run = await a_run(world)
    assert (await world.platform.check()).ok
    await world.unreachable()
    for call in (
        last_of(world, run),
        world.platform.cancel(run.thread_id, run.run_id),
        world.platform.withdraw(run.thread_id, run.run_id),
        world.platform.forget(ThreadId("thread-0000000009")),
    ):
        with pytest.raises(AgentUnreachableError):
            await call
    health = await world.platform.check()
    assert not health.ok
    assert health.detail
    assert health.code == "agent_unreachable"
    assert await world.platform.chat(PLACE)


async def test_a_wrong_token_raises_and_check_says_so(world: World) -> None:
    """AgentRefusedError from the calls."""
    run = await a_run(world)
    world.refuse()
    with pytest.raises(AgentRefusedError):
        await last_of(world, run)
    with pytest.raises(AgentRefusedError):
        await world.platform.cancel(run.thread_id, run.run_id)
    assert not (await world.platform.check()).ok


async def test_chats_do_not_wait_for_each_other(world: World) -> None:
    """While one hangs, the others are answered, each with its own words."""
    held = asyncio.Event()
    world.reply(held, "late")
    slow = asyncio.ensure_future(last_of(world, await a_run(world)))
    await asyncio.sleep(0.02)
    others = []
    for n in range(10):
        place = Place("matrix", PLACE.account, RoomId(f"!room{n}:x"))
        chat = await world.platform.chat(place)
        said = (Said(ANNA, f"canary-{n}"),)
        others.append(Run(RunId(f"x{n}.0"), chat.session.thread_id, said))
    answers = await asyncio.gather(*(last_of(world, run) for run in others))
    assert [answer.text for answer in answers] == [f"You said: canary-{n}" for n in range(10)]
    held.set()
    assert (await slow).text == "late"
