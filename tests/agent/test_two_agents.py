"""Two agents on one PostgreSQL: whoever comes later takes over, and the records stay right. (Which
of them works on a run is to be settled by a lease, later.)"""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import create_engine, text

from antiphon.testing.agent_service import AgentProcess, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

SLOW = Rule(
    (
        (Act(text="First. "), Act(call=("c1", "effect", "{}"))),
        (Act(text="one "), Act(gate="g"), Act(text="two")),
    ),
    when="slow",
)


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(statement))]
    engine.dispose()
    return found


async def test_the_second_takes_the_run_over_and_the_first_writes_no_more(
    tmp_path: Path, postgres_url: str
) -> None:
    """One end, whole, by the attempt that has the run; the tool's record is used; seq has no gap;
    both answer new runs."""
    first_engine = ScriptedEngine(Script((SLOW, say("quick"))))
    second_engine = ScriptedEngine(Script((SLOW, say("quick"))))
    async with (
        running_agent(tmp_path / "a", first_engine, database=postgres_url) as first,
        raw_client(first.url) as early,
    ):
        await early.start("r1", "slow")
        while (await early.recv()).get("text") != "one ":
            pass
        async with (
            running_agent(tmp_path / "b", second_engine, database=postgres_url) as second,
            raw_client(second.url) as late,
        ):
            await second_engine.reached("g")
            first_engine.open("g")  # the first one tries to go on
            second_engine.open("g")
            await late.start("r1", "slow", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
            events = await late.end()
            assert (await late.run("r2", "hello"))[-1]["text"] == "quick"
            other = "thread-fedcba9876543210"
            assert (await early.start("r1", "hello", thread_id=other))["type"] == "ok"
            while (await early.recv()).get("text") != "quick":
                pass
    assert events[-1]["text"] == "First. \n\none two"
    assert events[-1]["attempt"] == 2
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    stored = rows(
        postgres_url,
        "SELECT attempt, type FROM events WHERE run_id = 'r1' AND thread_id LIKE '%abcdef' "
        "AND type IN ('run.finished', 'run.error')",
    )
    assert stored == [(2, "run.finished")]
    effects = [line for engine in (first_engine, second_engine) for line in engine.journal.lines]
    assert sum("effect" in line for line in effects) == 1


async def test_a_cancel_at_one_and_a_start_at_the_other_agree(
    tmp_path: Path, postgres_url: str
) -> None:
    """Whichever comes first, and at once too: a run that was cancelled never ends in success."""
    script = Script((Rule(((Act(text="a "), Act(pause_ms=300), Act(text="b")),)),))
    async with (
        running_agent(tmp_path / "a", ScriptedEngine(script), database=postgres_url) as first,
        running_agent(tmp_path / "b", ScriptedEngine(script), database=postgres_url) as second,
        raw_client(first.url) as asks,
        raw_client(second.url) as cancels,
    ):
        threads = [f"thread-{number:016d}" for number in range(40)]
        answers = await asyncio.gather(
            *(asks.send("run.start", one, run_id="r1", input=[{"text": "x"}]) for one in threads),
            *(cancels.send("run.cancel", one, run_id="r1") for one in threads),
        )
        assert len(answers) == 80
        for client in (cancels, asks):
            acknowledged = 0
            while acknowledged < 40:
                frame = await client.recv()
                assert frame["type"] != "error", frame
                acknowledged += frame["type"] == "ok"
    assert rows(postgres_url, "SELECT DISTINCT status FROM runs") == [("cancelled",)]
    assert rows(postgres_url, "SELECT count(*) FROM tombstones") == [(0,)]
    ends = "SELECT count(*) FROM events WHERE type IN ('run.finished', 'run.error')"
    assert rows(postgres_url, ends) == [(40,)]


async def test_an_agent_on_postgres_survives_kill_and_resumes(
    tmp_path: Path, postgres_url: str
) -> None:
    """The same as on SQLite: the same run goes on, the recorded tool is not run again."""
    script = Script((SLOW, say("quick")))
    env = {"ANTIPHON_AGENT__DATABASE": postgres_url}
    agent = await AgentProcess.start(tmp_path, script, env)
    try:
        async with raw_client(agent.url) as client:
            await client.start("r1", "slow")
            while (await client.recv()).get("text") != "one ":
                pass
        await agent.kill()
        agent.open("g")
        agent = await AgentProcess.start(tmp_path, script, env)
        async with raw_client(agent.url) as client:
            await client.start("r1", "slow", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
            events = await client.end()
        assert events[-1]["text"] == "First. \n\none two"
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert sum("effect" in line for line in agent.journal()) == 1
    finally:
        await agent.kill()
