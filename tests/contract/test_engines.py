"""What every engine promises (`antiphon.agent.engines.port`), tried on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent.engines.local import LocalEngine
from antiphon.agent.engines.offline import OfflineEngine
from antiphon.agent.engines.port import (
    AssistantStep,
    Engine,
    EngineError,
    StepDone,
    TextChunk,
    UserText,
)
from antiphon.agent.engines.providers import ProviderEngine
from antiphon.agent.tools.registry import default_tools
from antiphon.settings import AgentSettings
from antiphon.testing.conversation import Conversation, collect
from antiphon.testing.model_server import ModelServer


class Case:
    """An engine under test and what differs between engines: a question with a long answer, and
    how to see that the model's work on it has stopped."""

    def __init__(
        self, engine: Engine, model: str, long: str, stopped: Callable[[], Awaitable[bool]]
    ):
        self.engine = engine
        self.model = model
        self.long = long
        self.stopped = stopped

    def conversation(self, text: str | None = None) -> Conversation:
        tools = default_tools() if self.engine.capabilities(self.model).tools else ()
        conversation = Conversation(self.engine, self.model, tools)
        if text is not None:
            conversation.history.append(UserText(text))
        return conversation


@pytest.fixture(
    params=["offline", "provider", pytest.param("local", marks=pytest.mark.local_model)]
)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    make: dict[str, Any] = {"offline": _offline, "provider": _provider, "local": _local}
    async with aclosing(make[request.param](tmp_path)) as cases:
        async for case in cases:
            yield case
            await case.engine.close()


async def _offline(_: Path) -> AsyncIterator[Case]:
    async def stopped() -> bool:
        return True  # it works only while it is asked for more

    yield Case(OfflineEngine(), "", "repeat " + "word " * 400, stopped)


async def _provider(_: Path) -> AsyncIterator[Case]:
    async with ModelServer(gap=0.001) as server:

        async def stopped() -> bool:
            await server.requests[-1].ended.wait()
            return server.requests[-1].disconnected

        settings = AgentSettings(base_url=server.url)
        engine = ProviderEngine("openai", "fake", settings)
        yield Case(engine, "fake", "Q-1 words:400 gap:0.01", stopped)


async def _local(folder: Path) -> AsyncIterator[Case]:
    engine = LocalEngine("", folder)

    async def stopped() -> bool:
        # The model works on one question at a time: a short one is answered at once only when
        # the long one is over.
        async with asyncio.timeout(10):
            await collect(engine, Conversation(engine).request_of("What is 2+2?"))
        return True

    yield Case(engine, "", "Write a long story about the sea.", stopped)


async def test_a_step_is_chunks_and_then_one_end(case: Case) -> None:
    conversation = case.conversation("What is the capital of France?")
    events = [event async for event in case.engine.step(conversation.request())]
    assert len(events) > 2
    assert all(isinstance(event, TextChunk) and event.text for event in events[:-1])
    end = events[-1]
    assert isinstance(end, StepDone)
    assert (end.calls, end.finish) == ((), "stop")


async def test_it_can_be_checked_more_than_once(case: Case) -> None:
    await case.engine.check()
    await case.engine.check()
    assert await case.conversation().say("What is 2+2?")


async def test_it_reads_the_history_that_it_is_given_and_no_other(case: Case) -> None:
    """The engine keeps no conversation: what it knows, it was sent in this very request."""
    told = case.conversation()
    await told.say("my name is Ada")
    answer = await told.say("What is my name?")
    assert "Ada" not in await case.conversation().say("What is my name?")
    if case.engine.name != "local":  # 135 million parameters often forget it
        assert "Ada" in answer


async def test_closing_the_stream_stops_the_models_work(case: Case) -> None:
    stream = case.engine.step(case.conversation(case.long).request())
    async with aclosing(stream) as events:  # type: ignore[type-var]
        assert isinstance(await anext(events), TextChunk)
    async with asyncio.timeout(10):
        assert await case.stopped()


async def test_cancelling_the_task_stops_the_models_work(case: Case) -> None:
    began = asyncio.Event()

    async def ask() -> None:
        stream = case.engine.step(case.conversation(case.long).request())
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for _ in events:
                began.set()
                await asyncio.sleep(0)
        await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    async with asyncio.timeout(10):
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await case.stopped()


async def test_steps_side_by_side_do_not_mix(case: Case) -> None:
    """Questions asked at once get the answers that they get when asked alone."""
    questions = [f"What is the capital of {land}? Q-{land}" for land in ("France", "Germany")]
    questions.append("repeat Q-42")
    alone = [await case.conversation().say(question) for question in questions]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(case.conversation().say(question)) for question in questions]
    assert [task.result() for task in tasks] == alone
    assert len(set(alone)) > 1


async def test_a_step_after_an_abandoned_one_is_clean(case: Case) -> None:
    """Nothing of the answer that was given up appears in the next."""
    stream = case.engine.step(case.conversation(case.long).request())
    async with aclosing(stream) as events:  # type: ignore[type-var]
        await anext(events)
    assert await case.conversation().say("Hello!") == await case.conversation().say("Hello!")


async def test_a_history_with_an_empty_answer_is_taken(case: Case) -> None:
    """A run that was cancelled before its first word leaves one."""
    conversation = case.conversation("Hello!")
    conversation.history.append(AssistantStep(""))
    assert await conversation.say("What is 2+2?")


async def test_after_close_it_says_that_it_stops(case: Case) -> None:
    """And closing again does nothing."""
    await case.conversation().say("Hello!")
    await case.engine.close()
    await case.engine.close()
    with pytest.raises(EngineError, match="stopping") as caught:
        await case.conversation().say("Hello!")
    assert caught.value.code == "model_unavailable"


async def test_it_says_what_it_can(case: Case) -> None:
    capabilities = case.engine.capabilities(case.model)
    assert capabilities.context_tokens >= 4_096
    assert capabilities.description
    assert capabilities.tools is (case.engine.name != "local")
