"""A run that kills the agent each time, and the others that are in flight beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from websockets.exceptions import ConnectionClosed

from antiphon.agent.store import lifecycle
from antiphon.testing.agent_service import AgentProcess, RawClient, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

DEADLY = Rule(((Act(text="x"), Act(gate="deadly"), Act(kill=True)),), when="deadly")
SLOW = Rule(((Act(text="half "), Act(gate="slow"), Act(text="whole")),), when="slow")
SCRIPT = Script((DEADLY, SLOW, say("quick")))


def thread(number: int) -> str:
    return f"thread-{number:016d}"


class Lives:
    """The lives of one agent; none is left behind."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.agent: AgentProcess | None = None

    async def begin(self, script: Script = SCRIPT) -> AgentProcess:
        assert self.agent is None or self.agent.process.returncode is not None
        self.agent = await AgentProcess.start(self.folder, script)
        return self.agent

    async def ends(self) -> None:
        """Returns when the agent has killed itself."""
        assert self.agent is not None
        await asyncio.wait_for(self.agent.process.wait(), 10)


@pytest.fixture
async def lives(tmp_path: Path) -> AsyncIterator[Lives]:
    made = Lives(tmp_path)
    yield made
    if made.agent is not None:
        await made.agent.kill()


async def ask(client: RawClient, number: int, text: str) -> None:
    assert (await client.start("r1", text, thread_id=thread(number)))["type"] == "ok"


async def steps(agent: AgentProcess, count: int) -> None:
    """Returns when so many model steps have begun, over all lives."""
    while sum("step" in line for line in agent.journal()) < count:
        await asyncio.sleep(0.01)


async def ended(agent: AgentProcess, number: int) -> dict[str, object]:
    """How the run of a thread ended."""
    async with raw_client(agent.url) as client:
        await client.ask("attach", thread_id=thread(number), run_id="r1")
        while True:
            frame = await client.recv()
            if frame["type"] in ("run.finished", "run.error"):
                return frame
            if frame["type"] == "snapshot" and frame["status"] != "running":
                return frame


def error_code(frame: dict[str, object]) -> object:
    failure = frame.get("error", frame)
    assert isinstance(failure, dict)
    return failure["code"]


async def test_the_others_in_flight_are_answered(lives: Lives) -> None:
    """The deadly run has its three attempts and one error; the runs that were in flight at the
    same crashes are not ended with it. Only after two crashes in common are they resumed one at
    a time."""
    agent = await lives.begin()
    async with raw_client(agent.url) as client:
        for number in (1, 2, 3):
            await ask(client, number, "slow")
        await ask(client, 0, "deadly")
        await steps(agent, 4)
        agent.open("deadly")
        await lives.ends()
    agent = await lives.begin()  # all four together: it may have been a power cut
    await lives.ends()
    agent.open("slow")
    agent = await lives.begin()  # one at a time: the slow ones end, then comes the deadly one
    await lives.ends()
    agent = await lives.begin()
    assert error_code(await ended(agent, 0)) == "attempts_exhausted"
    for number in (1, 2, 3):
        frame = await ended(agent, number)
        assert frame.get("status", frame.get("outcome")) == "success", frame
    async with raw_client(agent.url) as client:
        assert (await client.run("r2", "hello", thread_id=thread(0)))[-1]["text"] == "quick"
    deadly = [line for line in agent.journal() if line.get("question") == "deadly"]
    assert len(deadly) == 3


async def test_a_suspect_keeps_the_others_waiting_and_they_lose_nothing(lives: Lives) -> None:
    """While it works they are not begun, whatever happens to it; they can be cancelled, new runs
    are answered beside it, and a crash or a stop takes no attempt from those that wait."""
    agent = await lives.begin()
    async with raw_client(agent.url) as client:
        for number in range(3):
            await ask(client, number, "slow")
        await steps(agent, 3)
    for begun in (6, 7):
        await agent.kill()
        agent = await lives.begin()
        await steps(agent, begun)
    # Two crashes: the first one works alone, the others wait.
    async with raw_client(agent.url) as client:
        await client.ask("attach", thread_id=thread(1), run_id="r1")
        waiting = await client.recv()
        assert (waiting["status"], waiting["attempt"]) == ("running", 2)
        assert (await client.run("r1", "hello", thread_id=thread(9)))[-1]["text"] == "quick"
        assert (await client.ask("run.cancel", thread_id=thread(2), run_id="r1"))["type"] == "ok"
        await client.ask("attach", thread_id=thread(2), run_id="r1")
        while (frame := await client.recv()).get("status") != "cancelled":
            assert frame["thread_id"] != thread(1)
    assert await agent.terminate() == 0
    agent = await lives.begin()  # the one at work was parked
    await steps(agent, 9)
    await agent.kill()  # its third crash
    agent.open("slow")
    agent = await lives.begin()
    assert error_code(await ended(agent, 0)) == "attempts_exhausted"
    frame = await ended(agent, 1)
    assert frame.get("status", frame.get("outcome")) == "success", frame
    assert (await ended(agent, 2))["status"] == "cancelled"


async def test_a_start_that_races_a_stop_loses_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop comes while the start is being committed: the run is there, nobody works on it,
    and the next start answers it without counting a crash."""
    engine = ScriptedEngine(Script((say("quick"),)))
    loop = asyncio.get_running_loop()
    real = lifecycle.start
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:

        def stops(connection: Connection, wanted: lifecycle.Start, now: int) -> lifecycle.Started:
            stopped = threading.Event()

            def stop() -> None:
                agent.stop.set()
                loop.call_later(0.1, stopped.set)  # the service has taken notice by then

            loop.call_soon_threadsafe(stop)
            assert stopped.wait(5)
            return real(connection, wanted, now)

        monkeypatch.setattr(lifecycle, "start", stops)
        await client.send("run.start", run_id="r1", input=[{"text": "hello"}])
        with pytest.raises(ConnectionClosed):
            await client.end()
    assert engine.requests == []
    monkeypatch.setattr(lifecycle, "start", real)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start("r1", "hello", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
        assert (await client.end())[-1]["text"] == "quick"
    with sqlite3.connect(tmp_path / "agent.db") as after:
        assert after.execute("SELECT status, failed_attempts FROM runs").fetchall() == [
            ("success", 0)
        ]
    after.close()
    assert len(engine.requests) == 1
