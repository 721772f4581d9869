"""What a run used, as its end says: over all attempts, durable, the same whenever it is read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon.agent import tokens
from antiphon.testing.agent_service import (
    AgentProcess,
    Frame,
    RawClient,
    raw_client,
    running_agent,
)
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

NEW = "another-0123456789abcdef"
COUNTED = Rule(
    (
        (Act(text="First."), Act(call=("c1", "lookup", "{}")), Act(tokens=(100, 7))),
        (Act(text="Second."), Act(tokens=(140, 9))),
    ),
    when="count",
)
SCRIPT = Script((COUNTED, say("quick answer")))


async def snapshot_of(client: RawClient, run_id: str = "r1", **fields: str) -> Frame:
    """A snapshot of the run."""
    await client.ask("attach", run_id=run_id, **fields)
    return (await client.until("snapshot"))[-1]


async def test_the_models_counts_are_added_up_over_the_steps(tmp_path: Path) -> None:
    """And said again by a replay, by a snapshot, after a restart, and where the memory moved."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        end = (await client.run("r1", "count"))[-1]
        usage = end["usage"]
        assert 0 <= usage.pop("seconds") < 10
        assert usage == {"input_tokens": 240, "output_tokens": 16, "steps": 2, "estimated": False}
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        cursor = {"run_id": "r1", "attempt": 1, "seq": end["seq"] - 1}
        await client.ask("attach", cursor=cursor)
        replayed = await client.recv()
        assert replayed["type"] == "run.finished"
        assert (await snapshot_of(client))["usage"] == replayed["usage"]
        archive = await client.ask("thread.export")
        piece = {key: archive[key] for key in ("total", "digest", "offset", "data")}
        assert (await client.ask("thread.import", NEW, **piece))["type"] == "ok"
        assert (await snapshot_of(client, thread_id=NEW))["usage"] == replayed["usage"]


async def test_where_the_model_says_nothing_the_agent_estimates(tmp_path: Path) -> None:
    """The answer by its text; the question with all that is sent with it."""
    engine = ScriptedEngine(SCRIPT)
    async with (
        running_agent(tmp_path, engine, system_prompt="Be brief.") as agent,
        raw_client(agent.url) as client,
    ):
        short = (await client.run("r1", "hello"))[-1]["usage"]
        long = (await client.run("r2", "hello " * 300))[-1]["usage"]
    assert (short["estimated"], short["steps"]) == (True, 1)
    assert short["output_tokens"] == tokens.estimate("quick answer")
    least = tokens.estimate("hello") + tokens.estimate("Be brief.")
    assert least < short["input_tokens"] < 300
    assert long["input_tokens"] > short["input_tokens"] + tokens.estimate("hello " * 300)


async def test_a_model_that_refuses_costs_nothing_and_one_that_breaks_off_what_came(
    tmp_path: Path,
) -> None:
    """Errors say it too, and so does the snapshot of one."""
    refused = Rule(((Act(fail=("model_unavailable", "It is away.", True)),),), when="away")
    broken = Rule(((Act(text="half"), Act(break_off=True)),), when="break")
    engine = ScriptedEngine(Script((refused, broken)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        first = (await client.run("r1", "away"))[-1]
        assert first["type"] == "run.error"
        assert first["usage"] | {"seconds": 0} == {
            "input_tokens": 0,
            "output_tokens": 0,
            "seconds": 0,
            "steps": 0,
            "estimated": False,
        }
        second = (await client.run("r2", "break"))[-1]
        assert (second["usage"]["steps"], second["usage"]["estimated"]) == (1, True)
        assert second["usage"]["output_tokens"] == tokens.estimate("half")
        assert (await snapshot_of(client, "r2"))["usage"] == second["usage"]


async def test_a_cancelled_run_says_what_it_used_until_then(tmp_path: Path) -> None:
    """One that was cancelled before its start used nothing; while it runs a snapshot says none;
    a withdrawn one keeps its count, and nothing else."""
    slow = Rule(((Act(text="half an "), Act(gate="g")),), when="slow")
    engine = ScriptedEngine(Script((slow, say("x"))))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start("r1", "slow")
        await engine.reached("g")
        assert (await snapshot_of(client))["usage"] is None
        await client.ask("run.cancel", run_id="r1")
        end = (await client.end())[-1]
        assert end["usage"]["output_tokens"] == tokens.estimate("half an ")
        assert end["usage"]["estimated"]
        await client.ask("run.cancel", run_id="r2")
        assert (await client.run("r2", "x"))[-1]["usage"]["steps"] == 0
        await client.ask("run.withdraw", run_id="r1")
        gone = await snapshot_of(client)
        assert (gone["usage"], gone["texts"]) == (end["usage"], [])


async def test_attempts_that_were_killed_are_counted(tmp_path: Path) -> None:
    """kill -9 in the second step: its question and the text that was committed of it count,
    estimated, and the step that was recorded keeps the model's own numbers."""
    script = Script(
        (
            Rule(
                (
                    (Act(call=("c1", "lookup", "{}")), Act(tokens=(100, 7))),
                    (Act(words=30, pause_ms=10), Act(gate="g"), Act(tokens=(200, 30))),
                )
            ),
        )
    )
    agent = await AgentProcess.start(tmp_path, script)
    try:
        async with raw_client(agent.url) as client:
            await client.start("r1", "go")
            while (await client.recv()).get("text") != "w29 ":
                pass
        await agent.kill()
        agent.open("g")
        agent = await AgentProcess.start(tmp_path, script)
        async with raw_client(agent.url) as client:
            await client.start("r1", "go", cursor={"run_id": "r1", "attempt": 2, "seq": 0})
            usage = (await client.end())[-1]["usage"]
            assert (usage["steps"], usage["estimated"]) == (3, True)
            assert 300 < usage["input_tokens"] < 600
            some = tokens.estimate("w0 w1 w2 ")
            assert 7 + some + 30 <= usage["output_tokens"] < 7 + 30 + 90
            assert usage["seconds"] > 0.3
    finally:
        await agent.kill()


@pytest.mark.slow
async def test_a_run_that_is_given_up_says_what_its_attempts_used(tmp_path: Path) -> None:
    """After three crashes."""
    script = Script((Rule(((Act(words=20, pause_ms=10), Act(kill=True)),)),))
    agent = await AgentProcess.start(tmp_path, script)
    try:
        async with raw_client(agent.url) as client:
            await client.send("run.start", run_id="r1", input=[{"text": "deadly"}])
            await agent.process.wait()
        for _ in range(2):
            agent = await AgentProcess.start(tmp_path, script)
            await asyncio.wait_for(agent.process.wait(), 10)
        agent = await AgentProcess.start(tmp_path, script)
        async with raw_client(agent.url) as client:
            snapshot = await snapshot_of(client)
        assert snapshot["error"]["code"] == "attempts_exhausted"
        assert (snapshot["usage"]["steps"], snapshot["usage"]["estimated"]) == (3, True)
        assert snapshot["usage"]["output_tokens"] > 3
    finally:
        await agent.kill()
