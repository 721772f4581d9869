"""The worlds in which every implementation of `sdk.interface.Platform` is tested: the shipped fake,
and the real one over a WebSocket, with local state before a fake agent and before the real one,
and with a control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from antiphon.agent.engines.port import (
    EngineError,
    StepDone,
    StepEvent,
    StepRequest,
    TextChunk,
    UserText,
)
from antiphon.agent_api.client import AgentClient, Limits
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place, Said
from antiphon.sdk.agent_session import AgentSession
from antiphon.sdk.interface import Outcome, Platform, Progress, Run, ToolUse
from antiphon.sdk.prototype_state import LocalState
from antiphon.sdk.real import Platform as RealPlatform
from antiphon.sdk.state import State
from antiphon.testing.agent import FakeAgent, FakePlatform
from antiphon.testing.agent_service import TOKEN, Agent, running_agent
from antiphon.testing.engine import Script as EngineScript
from antiphon.testing.engine import ScriptedEngine
from antiphon.testing.remote_worlds import remote_world
from antiphon.testing.script import NextStep, Rewind, Script, Step

KINDS = ("fake", "fake-agent", "agent", "remote")

ANNA = UserId("@anna:x")
PLACE = Place("matrix", UserId("@bot:x"), RoomId("!room:x"))
LIMITS = Limits(connect_s=2, verb_s=1.5, backoff_s=0.02, backoff_max_s=0.1, refused_s=0.1)


class World:
    """A platform and what stands behind it, the same for both kinds."""

    def __init__(self, platform: Platform):
        self.platform = platform

    def reply(self, *steps: Step) -> None:
        """Queues the answer of the next new run."""
        raise NotImplementedError

    async def unreachable(self) -> None:
        """From now on nobody answers."""
        raise NotImplementedError

    def refuse(self) -> None:
        """From now on the token is wrong."""
        raise NotImplementedError

    def begun(self) -> int:
        """How many runs were begun."""
        raise NotImplementedError


class FakeWorld(World):
    def __init__(self) -> None:
        self.fake = FakePlatform()
        super().__init__(self.fake)

    def reply(self, *steps: Step) -> None:
        self.fake.reply(*steps)

    async def unreachable(self) -> None:
        self.fake.unreachable = True

    def refuse(self) -> None:
        self.fake.refused = True

    def begun(self) -> int:
        return len(self.fake.runs)


class RealWorld(World):
    def __init__(self, platform: RealPlatform, agent: FakeAgent):
        super().__init__(platform)
        self.agent = agent

    def reply(self, *steps: Step) -> None:
        self.agent.reply(*steps)

    async def unreachable(self) -> None:
        await self.agent.down()

    def refuse(self) -> None:
        self.agent.token = "another"  # noqa: S105 - no secret
        self.agent.cut()

    def begun(self) -> int:
        return len(self.agent.starts)


class StepsEngine(ScriptedEngine):
    """A model whose runs take the steps of a script: text, gates and failures."""

    def __init__(self) -> None:
        super().__init__(EngineScript())
        self.steps: Script[StepRequest] = Script(_echo)

    async def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        self.requests.append(request)
        for step in self.steps.take(request):
            if isinstance(step, str):
                yield TextChunk(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Outcome):
                raise EngineError(step.message, code=step.code, retryable=step.retryable)
        yield StepDone()


def _echo(request: StepRequest) -> Sequence[Step]:
    question = request.history[-1]
    assert isinstance(question, UserText)
    return ["You said: ", question.text.rpartition(": ")[2]]


class AgentWorld(World):
    def __init__(self, platform: RealPlatform, life: AsyncExitStack, engine: StepsEngine):
        super().__init__(platform)
        self.life = life
        self.engine = engine

    def reply(self, *steps: Step) -> None:
        if any(isinstance(step, ToolUse | NextStep | Rewind) for step in steps):
            pytest.skip("the model of this world has one step and no tools")
        self.engine.steps.reply(*steps)

    async def unreachable(self) -> None:
        await self.life.aclose()

    def refuse(self) -> None:
        pytest.skip("the agent's tokens do not change while it runs")

    def begun(self) -> int:
        return len(self.engine.requests)


@asynccontextmanager
async def platform_world(kind: str, folder: Path) -> AsyncIterator[World]:
    """A world of one of the KINDS, with its state in `folder`."""
    if kind == "fake":
        yield FakeWorld()
        return
    clock, chance = SystemClock(), SystemChance()
    engine = StepsEngine()
    async with AsyncExitStack() as stack:
        agent: FakeAgent | Agent
        life = await stack.enter_async_context(AsyncExitStack())
        if kind == "agent":
            agent = await life.enter_async_context(running_agent(folder / "agent", engine))
            token = TOKEN
        else:
            agent = await stack.enter_async_context(FakeAgent())
            token = agent.token
        client = await stack.enter_async_context(
            AgentClient(agent.url, token, clock=clock, chance=chance, limits=LIMITS)
        )
        state: State
        if kind == "remote":
            keeper = await stack.enter_async_context(remote_world(folder, lambda: None))
            state = await keeper.open()
        else:
            url = f"sqlite:///{folder / 'state.db'}"
            state = await LocalState.open(url, clock=clock, chance=chance)
            stack.push_async_callback(state.close)
        session = AgentSession(client, answer_timeout_s=4.0, clock=clock, chance=chance)
        platform = RealPlatform(state, client, session, surface="matrix")
        if isinstance(agent, FakeAgent):
            yield RealWorld(platform, agent)
        else:
            yield AgentWorld(platform, life, engine)


async def a_run(world: World, run_id: str = "t1.0", text: str = "hello") -> Run:
    chat = await world.platform.chat(PLACE)
    return Run(RunId(run_id), chat.session.thread_id, (Said(ANNA, text),))


async def all_of(world: World, run: Run) -> list[Progress]:
    return [progress async for progress in world.platform.answer(run)]


async def last_of(world: World, run: Run) -> Progress:
    return (await all_of(world, run))[-1]
