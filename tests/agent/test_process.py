"""The agent as a process, on SQLite and on PostgreSQL: killed, stopped in order, started again,
wrongly configured."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.testing.agent_service import AgentProcess, Frame, raw_client
from antiphon.testing.engine import Act, Rule, Script, say

TWO_STEPS = Script(
    (
        Rule(
            (
                (Act(text="First. "), Act(call=("c1", "effect", '{"say": "made it"}'))),
                (Act(text="Second "), Act(gate="g"), Act(text="half.")),
            )
        ),
    )
)


class Life:
    """Starts agents on one folder and one database, and leaves none behind."""

    def __init__(self, folder: Path, database: str):
        self.folder = folder
        self.database = database
        self.agents: list[AgentProcess] = []

    async def start(self, script: Script, **env: str) -> AgentProcess:
        env = {"ANTIPHON_AGENT__DATABASE": self.database, **env}
        self.agents.append(await AgentProcess.start(self.folder, script, env))
        return self.agents[-1]


@pytest.fixture
async def life(tmp_path: Path, store_url: str) -> AsyncIterator[Life]:
    lives = Life(tmp_path, store_url)
    yield lives
    for agent in lives.agents:
        await agent.kill()


async def seen_until(agent: AgentProcess, text: str) -> list[Frame]:
    """Starts the run and reads until this delta."""
    async with raw_client(agent.url) as client:
        await client.start("r1", "go")
        events: list[Frame] = []
        while not events or events[-1].get("text") != text:
            events.append(await client.recv())
        return events


def cursor(event: Frame) -> dict[str, object]:
    return {"run_id": event["run_id"], "attempt": event["attempt"], "seq": event["seq"]}


async def test_killed_in_mid_run_it_resumes_from_the_last_whole_step(life: Life) -> None:
    """The recorded tool is not run again; the reader is told what is void and goes on in the
    same run; its cursor may be ahead of what was committed."""
    agent = await life.start(TWO_STEPS)
    before = await seen_until(agent, "Second ")
    await agent.kill()
    agent.open("g")
    agent = await life.start(TWO_STEPS)
    async with raw_client(agent.url) as client:
        await client.ask("attach", cursor=cursor(before[-1]))
        rest = await client.end()
    resumed = rest[0]
    assert (resumed["type"], resumed["attempt"], resumed["step"]) == ("run.resumed", 2, 1)
    assert resumed["seq"] <= before[-1]["seq"] + 1
    assert [event["seq"] for event in rest] == list(
        range(resumed["seq"], resumed["seq"] + len(rest))
    )
    assert {event["attempt"] for event in rest} == {2}
    assert rest[-1]["text"] == "First. \n\nSecond half."
    journal = agent.journal()
    assert sum("effect" in line for line in journal) == 1
    assert [line["step"] for line in journal if "step" in line] == [0, 1, 1]


@pytest.mark.parametrize(
    ("tool", "effects", "outcome"), [("effect", 1, "unknown"), ("lookup", 2, "ok")]
)
async def test_killed_between_effect_and_record(
    life: Life, tool: str, effects: int, outcome: str
) -> None:
    """Only a repeatable tool is run again; else model and reader are told: outcome unknown."""
    kill = Rule(((Act(call=("c1", tool, '{"gate": "g"}')),), (Act(text="Done."),)))
    agent = await life.start(Script((kill,)))
    async with raw_client(agent.url) as client:
        await client.start("r1", "go")
        await client.until("tool.end")
        while not any("gate" in line for line in agent.journal()):
            await asyncio.sleep(0.005)
    await agent.kill()
    agent.open("g")
    agent = await life.start(Script((kill,)))
    async with raw_client(agent.url) as client:
        await client.start("r1", "go", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
        events = await client.end()
    result = next(event for event in events if event["type"] == "tool.result")
    assert result.get("outcome", "ok") == outcome
    assert result["content"].startswith("outcome unknown" if outcome == "unknown" else "done")
    assert sum("effect" in line for line in agent.journal()) == effects
    assert events[-1]["text"] == "Done."
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_run_that_kills_the_agent_each_time_ends_after_three_attempts(life: Life) -> None:
    """One error, and the thread goes on."""
    deadly = Script((Rule(((Act(text="x"), Act(kill=True)),), when="deadly"), say("fine")))
    agent = await life.start(deadly)
    async with raw_client(agent.url) as client:
        await client.send("run.start", run_id="r1", input=[{"text": "deadly"}])
        await agent.process.wait()
    for _ in range(2):
        agent = await life.start(deadly)
        await asyncio.wait_for(agent.process.wait(), 10)
    agent = await life.start(deadly)
    async with raw_client(agent.url) as client:
        await client.start("r1", "deadly", cursor={"run_id": "r1", "attempt": 3, "seq": 0})
        events = await client.until("run.error")
        assert events[-1]["code"] == "attempts_exhausted"
        assert (await client.run("r2", "good"))[-1]["text"] == "fine"
    assert sum("step" in line for line in agent.journal()) == 4


@pytest.mark.slow
async def test_clean_stops_do_not_count_as_failed_attempts(life: Life) -> None:
    """SIGTERM leaves the run running; after five restarts it is still finished."""
    script = Script((Rule(((Act(text="a "), Act(gate="g"), Act(text="b")),)),))
    agent = await life.start(script)
    await seen_until(agent, "a ")
    for _ in range(5):
        assert await agent.terminate() == 0
        agent = await life.start(script)
    agent.open("g")
    async with raw_client(agent.url) as client:
        await client.start("r1", "go", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
        events = await client.end()
    assert events[-1]["text"] == "a b"
    assert events[-1]["attempt"] == 6


async def test_a_cancel_that_was_acknowledged_survives_kill(life: Life) -> None:
    """After `ok` nothing brings the run back."""
    agent = await life.start(TWO_STEPS)
    async with raw_client(agent.url) as client:
        await client.start("r1", "go")
        await client.until("tool.result")
        await client.ask("run.cancel", run_id="r1")
    await agent.kill()
    agent = await life.start(TWO_STEPS)
    async with raw_client(agent.url) as client:
        await client.ask("attach", run_id="r1")
        assert (await client.recv())["status"] == "cancelled"


async def test_killed_at_random_moments_it_always_ends_in_one_whole_answer(life: Life) -> None:
    """Twice in a row, at different words; seq has no gap and no void text is left."""
    script = Script((Rule(((Act(words=40, pause_ms=4),),)),))
    agent = await life.start(script)
    seen: list[Frame] = []
    for words in (5, 23):
        async with raw_client(agent.url) as client:
            await client.start("r1", "go", cursor=cursor(seen[-1]) if seen else None)
            while not seen or seen[-1].get("text") != f"w{words} ":
                seen.append(await client.recv())
        await agent.kill()
        agent = await life.start(script)
    async with raw_client(agent.url) as client:
        await client.start("r1", "go", cursor=cursor(seen[-1]))
        seen += await client.end()
    assert seen[-1]["text"] == "".join(f"w{n} " for n in range(40))
    last_attempt = [event for event in seen if event["attempt"] == 3]
    deltas = "".join(e["text"] for e in last_attempt if e["type"] == "text.delta")
    assert deltas == seen[-1]["text"]
    assert sum(event["type"] in ("run.finished", "run.error") for event in seen) == 1


async def run_agent(**env: str) -> tuple[int | None, str]:
    """The real entry point, expected to refuse."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "antiphon.agent",
        env={k: v for k, v in os.environ.items() if not k.startswith(("ANTIPHON_", "OPENAI_"))}
        | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, errors.decode()


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "ANTIPHON_AGENT__TOKEN"),
        ({"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__PORT": "no"}, "ANTIPHON_AGENT__PORT"),
        ({"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__MODEL": "nonsense"}, "nonsense"),
        (
            {"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__MODELS": "offline,nonsense"},
            "[agent] models: 'nonsense'",
        ),
        (
            {"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__MODELS": "openai:gpt-x"},
            "[agent] models: openai:gpt-x: [agent] api_key",
        ),
        ({"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__ERASE_TOKEN": "x"}, "erase_token"),
        ({"ANTIPHON_AGENT__ERASE_TOKEN": "x"}, "ANTIPHON_AGENT__TOKEN"),
        ({"ANTIPHON_AGENT__TOKEN": "x", "ANTIPHON_AGENT__DATABASE": "mysql://x"}, "sqlite"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, env: dict[str, str], says: str
) -> None:
    """What to do, on standard error, without a traceback."""
    code, errors = await run_agent(ANTIPHON_STATE_DIR=str(tmp_path), **env)
    assert code == 2, errors
    assert says in errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1
