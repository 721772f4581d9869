"""The engine of an OpenAI-compatible server: what it sends, what it makes of failures, and that
it never repeats a request after text has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from antiphon.agent.engines.port import (
    AssistantStep,
    EngineError,
    ReasoningChunk,
    StepDone,
    TextChunk,
    ToolCall,
    ToolReturn,
    UserText,
)
from antiphon.agent.engines.providers import ProviderEngine
from antiphon.agent.engines.providers.engine import RETRIES
from antiphon.agent.tools.registry import default_tools
from antiphon.clock import SystemClock
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings import AgentSettings, Secret
from antiphon.testing.conversation import Conversation, collect
from antiphon.testing.model_server import ModelServer

KEY = "sk-very-secret-0123456789"


class NoWaiting(SystemClock):
    """Remembers how long it was told to wait, and does not."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer(words=6, api_key=KEY, models=("fake",)) as server:
        yield server


@pytest.fixture
def clock() -> NoWaiting:
    return NoWaiting()


def make(
    url: str, clock: NoWaiting, *, key: str = KEY, model: str = "fake", provider: str = "openai"
) -> ProviderEngine:
    settings = AgentSettings(base_url=url, api_key=Secret(key))
    return ProviderEngine(provider, model, settings, clock=clock)


@pytest.fixture
async def chat(server: ModelServer, clock: NoWaiting) -> AsyncIterator[Conversation]:
    engine = make(server.url, clock)
    yield Conversation(engine, "fake", default_tools())
    await engine.close()


async def test_history_and_tools_arrive_as_they_are(
    server: ModelServer, chat: Conversation
) -> None:
    chat.history = [
        UserText("one"),
        AssistantStep("let me see", (ToolCall("c1", "clock", '{"zone": "UTC"}'),)),
        ToolReturn("c1", "clock", "noon"),
        AssistantStep("noon it is"),
        UserText("two", "@a:x"),
        UserText("three", "@b:x"),
    ]
    await collect(chat.engine, chat.request())
    body = server.requests[0].body
    assert [(m["role"], m.get("content")) for m in body["messages"]] == [
        ("system", "You are a helpful assistant."),
        ("user", "one"),
        ("assistant", "let me see"),
        ("tool", "noon"),
        ("assistant", "noon it is"),
        ("user", "two"),
        ("user", "three"),
    ]
    call = body["messages"][2]["tool_calls"][0]
    assert (call["id"], call["function"]["name"]) == ("c1", "clock")
    assert body["model"] == "fake"
    assert body["stream"] is True
    assert body["max_completion_tokens"] == 500
    sent = {tool["function"]["name"]: tool["function"] for tool in body["tools"]}
    assert sent.keys() == {tool.spec.name for tool in default_tools()}
    assert sent["search"]["parameters"]["required"] == ["words"]


async def test_reasoning_text_and_usage_come_apart(chat: Conversation) -> None:
    chat.history.append(UserText("think:2 words:5"))
    events = [event async for event in chat.engine.step(chat.request())]
    assert events[:2] == [ReasoningChunk("t0 "), ReasoningChunk("t1 ")]
    assert all(isinstance(event, TextChunk) for event in events[2:-1])
    assert events[-1] == StepDone(input_tokens=10, output_tokens=5)


async def test_a_tool_is_asked_for_and_its_result_goes_back(chat: Conversation) -> None:
    """The ids are ours: the server numbers its calls anew in each answer."""
    for _ in range(2):
        answer = await chat.say('tool:calculator:{"expression":"2*3"}')
        assert 'returned="6"' in answer
    assert [(call.name, call.args) for call in chat.calls] == [
        ("calculator", '{"expression":"2*3"}')
    ] * 2
    assert len({call.call_id for call in chat.calls}) == 2


async def test_several_calls_in_one_step(chat: Conversation) -> None:
    answer = await chat.say('tool:calculator:{"expression":"2*3"} tool:clock:{}')
    assert [call.name for call in chat.calls] == ["calculator", "clock"]
    assert 'returned="6"' in answer
    assert "2026" in answer


@pytest.mark.parametrize(
    ("fault", "code", "retryable", "requests", "says"),
    [
        ("401", "model_refused", False, 1, "refused the agent's key"),
        ("403", "model_refused", False, 1, "refused the agent's key"),
        ("404", "model_refused", False, 1, "knows no model 'fake'"),
        ("400", "model_refused", False, 1, "refused the request (HTTP 400)"),
        ("429", "model_unavailable", True, 3, "rate limiting"),
        ("500", "model_unavailable", True, 3, "has a problem (HTTP 500)"),
        ("503", "model_unavailable", True, 3, "has a problem (HTTP 503)"),
        ("disconnect@0", "model_unavailable", True, 3, "can't be reached"),
        ("malformed@0", "model_failed", True, 3, "makes no sense"),
        ("html", "model_failed", True, 3, "makes no sense"),
        ("empty", "model_failed", True, 3, "empty answer"),
        ("disconnect@3", "model_failed", True, 1, "broke off"),
        ("malformed@3", "model_failed", True, 1, "broke off"),
    ],
)
async def test_failures_in_plain_words(
    server: ModelServer,
    chat: Conversation,
    fault: str,
    code: str,
    retryable: bool,
    requests: int,
    says: str,
) -> None:
    """Each has its code and a sentence without the key; what failed before any text is repeated,
    what broke off after it is not."""
    chat.history.append(UserText(f"fault:{fault}"))
    with pytest.raises(EngineError) as caught:
        await collect(chat.engine, chat.request())
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert says in caught.value.message
    assert KEY not in caught.value.message
    assert caught.value.__suppress_context__
    assert len(server.requests) == requests


async def test_a_passing_failure_is_not_seen(
    server: ModelServer, chat: Conversation, clock: NoWaiting
) -> None:
    """Two failures and then an answer: one answer, after growing waits."""
    server.fail("500", "disconnect@0")
    assert "END:Q-1" in await chat.say("Q-1")
    assert len(server.requests) == RETRIES + 1
    assert 0.25 <= clock.waits[0] < clock.waits[1] <= 2.0


async def test_a_dead_server_is_unavailable(clock: NoWaiting) -> None:
    engine = make("http://127.0.0.1:9/v1", clock)
    with pytest.raises(EngineError, match="can't be reached") as caught:
        await Conversation(engine, "fake").say("hello")
    assert caught.value.code == "model_unavailable"
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9 can't be reached"):
        await engine.check()
    await engine.close()


@pytest.mark.parametrize("fault", ["hang@0", "hang@3"])
async def test_a_hang_is_ended_by_the_callers_deadline(
    server: ModelServer, chat: Conversation, fault: str
) -> None:
    """And the server sees that its client has gone."""
    chat.history.append(UserText(f"fault:{fault}"))

    async def ask() -> None:
        async with aclosing(chat.engine.step(chat.request())) as events:  # type: ignore[type-var]
            async for _ in events:
                pass

    async with asyncio.TaskGroup() as group:
        task = group.create_task(ask())
        while not server.requests:
            await asyncio.sleep(0.01)
        await server.requests[0].started.wait()
        task.cancel()
    async with asyncio.timeout(5):
        await server.requests[0].ended.wait()
    assert server.requests[0].disconnected


async def test_steps_share_a_connection(server: ModelServer, chat: Conversation) -> None:
    """One after another, they use one."""
    for _ in range(3):
        await chat.say("hello")
    assert len({request.peer for request in server.requests}) == 1


async def test_check_accepts_a_server_that_knows_key_and_model(
    server: ModelServer, clock: NoWaiting
) -> None:
    engine = make(server.url, clock)
    await engine.check()
    await engine.check()
    await engine.close()


async def test_check_does_not_wait_for_the_framework(server: ModelServer, clock: NoWaiting) -> None:
    """Loading takes two seconds; it goes on in a thread, for the first question."""
    engine = make(server.url, clock)
    await engine.check()
    assert list(engine._loads) == ["fake"]
    assert engine._backends == {}
    assert "END:" in await Conversation(engine, "fake").say("hello")
    assert engine._backends
    await engine.close()


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_check_accepts_a_server_that_can_not_be_asked(status: int, clock: NoWaiting) -> None:
    """Not every OpenAI-compatible server lists its models, nor may every key ask."""
    async with ModelServer() as server:
        server.model_status = status
        engine = make(server.url, clock)
        await engine.check()
        await engine.close()


async def test_check_refuses_a_wrong_key_without_showing_it(
    server: ModelServer, clock: NoWaiting
) -> None:
    engine = make(server.url, clock, key="sk-wrong")
    with pytest.raises(SettingsError, match="ANTIPHON_AGENT__API_KEY") as caught:
        await engine.check()
    assert "sk-wrong" not in caught.value.message
    await engine.close()


async def test_check_refuses_an_unknown_model(server: ModelServer, clock: NoWaiting) -> None:
    engine = make(server.url, clock, model="gpt-nowhere")
    with pytest.raises(SettingsError, match="knows no model 'gpt-nowhere'"):
        await engine.check()
    await engine.close()


async def test_check_refuses_an_unknown_provider_and_a_wrong_address(clock: NoWaiting) -> None:
    with pytest.raises(SettingsError, match="there is no provider 'nobody'"):
        await make("", clock, provider="nobody").check()
    with pytest.raises(SettingsError, match="is no address"):
        await make("localhost:8000/v1", clock).check()


async def test_a_provider_that_is_not_installed_names_the_extra(clock: NoWaiting) -> None:
    with pytest.raises(MissingExtraError, match=r"antiphon\[models-all\]"):
        await make("", clock, key="", provider="xai").check()


async def test_a_step_with_wrong_settings_tells_the_room_only_that(clock: NoWaiting) -> None:
    """The reason is for the operator: it is raised by `check` and logged."""
    engine = make("localhost:8000/v1", clock)
    with pytest.raises(EngineError, match="not set up") as caught:
        await Conversation(engine, "fake").say("hello")
    assert "localhost" not in caught.value.message


async def test_openai_itself_needs_a_key(clock: NoWaiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="OpenAI needs a key"):
        await make("", clock, key="").check()


@pytest.mark.parametrize("provider", ["openai", "openai-responses"])
async def test_a_key_from_the_environment_never_reaches_another_server(
    provider: str, clock: NoWaiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local server needs none; the operator's OpenAI key is not for it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with ModelServer(api_key=KEY) as server:
        engine = make(server.url, clock, key="", provider=provider)
        with pytest.raises(EngineError):
            await Conversation(engine, "fake").say("hello")
        await engine.close()
    assert server.keys == ["no-key-set"]
