"""The real platform, put together as a surface gets it."""

import asyncio
from pathlib import Path

import pytest

from antiphon.agent_api.messages import Error, RunStart
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place, Said
from antiphon.core.scopes import Scope
from antiphon.errors import AgentUnreachableError, PlatformError, SettingsError, StateError
from antiphon.sdk.interface import Outcome, Run
from antiphon.sdk.real import open_platform
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.agent import FakeAgent
from antiphon.testing.agent_run import ended

ANNA = UserId("@anna:x")
PLACE = Place("matrix", UserId("@bot:x"), RoomId("!room:x"))


def opened(agent: FakeAgent, folder: Path, surface: str = "matrix"):  # type: ignore[no-untyped-def]
    return open_platform(
        General(state_dir=str(folder)),
        AgentSettings(url=agent.url, token=Secret(agent.token)),
        answer_timeout_s=10,
        surface=surface,
        clock=SystemClock(),
        chance=SystemChance(),
    )


async def test_a_restarted_surface_finds_its_chat_and_its_answer(tmp_path: Path) -> None:
    """The first life asks and dies; the second has the same thread and finishes the same run."""
    gate = asyncio.Event()
    async with FakeAgent() as agent:
        agent.reply("one", gate, " two")
        async with opened(agent, tmp_path) as platform:
            chat = await platform.chat(PLACE)
            run = Run(RunId("t1.0"), chat.session.thread_id, (Said(ANNA, "hi"),))
            async for progress in platform.answer(run):
                if progress.text == "one":
                    break
        gate.set()
        async with opened(agent, tmp_path) as platform:
            assert await platform.chat(PLACE) == chat
            last = [progress async for progress in platform.answer(run)][-1]
        assert (last.text, ended(last)) == ("one two", Outcome("success"))
        assert len(agent.starts) == 1
    assert (tmp_path / "state.db").is_file()


async def test_it_opens_and_closes_without_an_agent(tmp_path: Path) -> None:
    """The agent need not run yet; `check` says so."""
    async with FakeAgent() as agent:
        await agent.down()
        async with opened(agent, tmp_path) as platform:
            assert (await platform.check()).ok is False
            assert await platform.chat(PLACE)


async def test_settings_of_the_chat_reach_the_run(tmp_path: Path) -> None:
    """What is set for a room is resolved for who asks there."""
    async with FakeAgent() as agent, opened(agent, tmp_path) as platform:
        room = Scope("room", "matrix", PLACE.room)
        await platform.set_setting(room, "model", "local", by=ANNA, request_id="t0")
        chat = await platform.chat(PLACE)
        assert (await platform.resolve(chat, ANNA)).model == "local"


async def test_a_forgotten_thread_is_not_asked_for_again(tmp_path: Path) -> None:
    """Even where the agent was unreachable: it is retired here first, and the debt is the
    caller's."""
    async with FakeAgent() as agent:
        await agent.down()
        async with opened(agent, tmp_path) as platform:
            chat = await platform.chat(PLACE)
            thread = chat.session.thread_id
            forgetting = asyncio.ensure_future(platform.forget(thread))
            while (await platform.chat(PLACE)).session.thread_id == thread:
                await asyncio.sleep(0.005)
            await agent.up()
            await forgetting
            with pytest.raises(PlatformError) as caught:
                await anext(platform.answer(Run(RunId("t1.0"), thread, (Said(ANNA, "hi"),))))
            assert caught.value.code == "thread_gone"
        assert not [verb for verb in agent.verbs if isinstance(verb, RunStart)]


async def test_a_passing_refusal_leaves_the_debt_with_the_caller(tmp_path: Path) -> None:
    """An agent that shuts down has not done it: unreachable, so that the caller tries again."""
    async with FakeAgent() as agent, opened(agent, tmp_path) as platform:
        agent.refusals["run.cancel"].append(Error("shutting_down", "Bye."))
        with pytest.raises(AgentUnreachableError, match="shutting_down"):
            await platform.cancel(ThreadId("thread-0000000001"), RunId("t1.0"))


async def test_a_place_of_another_surface_is_refused(tmp_path: Path) -> None:
    """One surface never opens another's chats."""
    async with FakeAgent() as agent, opened(agent, tmp_path, "terminal") as platform:
        with pytest.raises(PlatformError) as caught:
            await platform.chat(PLACE)
        assert caught.value.code == "wrong_surface"


async def test_wrong_settings_and_a_foreign_database_are_refused_at_once(tmp_path: Path) -> None:
    """Address, token, and a file that is no database: an error that says so, nothing half open."""
    async with FakeAgent() as agent:
        for settings in (AgentSettings(token=Secret("t")), AgentSettings(url=agent.url)):
            with pytest.raises(SettingsError, match="ANTIPHON_AGENT__"):
                async with open_platform(
                    General(state_dir=str(tmp_path)),
                    settings,
                    answer_timeout_s=10,
                    surface="matrix",
                    clock=SystemClock(),
                    chance=SystemChance(),
                ):
                    pass
        (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(StateError, match="not a database"):
            async with opened(agent, tmp_path):
                pass


async def test_the_models_are_the_agents_its_own_first(tmp_path: Path) -> None:
    """An older agent does not say; that is no failure."""
    async with FakeAgent() as agent, opened(agent, tmp_path) as platform:
        agent.refusals["models.list"] = [Error("unknown_type", "There is no such verb.")]
        assert await platform.models() == ()
        agent.models = ("openai:a", "offline")
        assert await platform.models() == ("openai:a", "offline")


async def test_what_a_person_said_is_erased_from_a_thread(tmp_path: Path) -> None:
    """Where the thread is gone already, that is as good."""
    async with FakeAgent() as agent, opened(agent, tmp_path) as platform:
        chat = await platform.chat(PLACE)
        thread_id = chat.session.thread_id
        async for _ in platform.answer(Run(RunId("t1.0"), thread_id, (Said(ANNA, "hi"),))):
            pass
        assert await platform.export_thread(thread_id) is not None
        await platform.erase_author(thread_id, ANNA)
        assert await platform.export_thread(thread_id) is None
        await platform.forget(thread_id)
        await platform.erase_author(thread_id, ANNA)
