"""Nothing of one thread gets into another: a canary word in each, under faults."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.client import AgentClient, Limits
from antiphon.agent_api.messages import InputPart
from antiphon.clock import SystemChance, SystemClock
from antiphon.testing.agent_service import TOKEN, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine

THREADS = 50
CANARY = re.compile(r"canary-\d\d")
SCRIPT = Script(
    (
        Rule(
            (
                (
                    Act(text="I note {question}. "),
                    Act(call=("c1", "effect", '{"note": "x", "say": "done"}')),
                ),
                (Act(words=5, pause_ms=2), Act(text="{question}, noted")),
            )
        ),
    )
)


def canary(number: int) -> str:
    return f"canary-{number:02d}"


def thread(number: int) -> str:
    return f"thread-{number:016d}"


async def ask(client: AgentClient, number: int, run_id: str) -> Answer:
    answer = Answer(run_id)
    question = (InputPart(f"{canary(number)} {run_id}", "@anna:x"),)
    with client.start(thread(number), run_id, question) as events:
        async for event in events:
            assert event.thread_id == thread(number)
            answer.apply(event)
            assert set(CANARY.findall(answer.text)) <= {canary(number)}
    return answer


async def test_fifty_threads_keep_their_words_to_themselves(tmp_path: Path) -> None:
    """Over one connection, with cuts and restarts of the service in mid-answer, each thread's
    words go into its own answers, its own history, its own rows, and nowhere else."""
    engine = ScriptedEngine(SCRIPT)
    clock, chance = SystemClock(), SystemChance()
    limits = Limits(backoff_s=0.02, backoff_max_s=0.1)
    async with AsyncExitStack() as stack:
        life = AsyncExitStack()
        agent = await life.enter_async_context(running_agent(tmp_path, engine))
        port = urlsplit(agent.url).port
        client = await stack.enter_async_context(
            AgentClient(agent.url, TOKEN, clock=clock, chance=chance, limits=limits)
        )
        for run_id in ("r1", "r2"):
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(ask(client, n, run_id)) for n in range(THREADS)]
                before = len(engine.requests)
                while len(engine.requests) < before + THREADS:
                    await asyncio.sleep(0.01)
                await life.aclose()  # stopped in mid-answer, and started again
                life = AsyncExitStack()
                await life.enter_async_context(running_agent(tmp_path, engine, port=port))
            for number, task in enumerate(asked):
                answer = task.result()
                assert answer.status == "success"
                assert answer.text.endswith(f"{canary(number)} {run_id}, noted")
        await life.aclose()
    for request in engine.requests:
        assert len(set(CANARY.findall(repr(request.history)))) == 1
    with sqlite3.connect(tmp_path / "agent.db") as database:
        for table in ("runs", "steps", "calls", "events", "notes"):
            for row in database.execute(f"SELECT * FROM {table}"):
                number = int(row[1].rpartition("-")[2])
                assert set(CANARY.findall(repr(row))) <= {canary(number)}, table
    database.close()
