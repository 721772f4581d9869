"""The service under faults: a database that is locked, a stop in mid-run, a reader that is dead."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection
from websockets.exceptions import ConnectionClosed

from antiphon.agent import supervisor
from antiphon.agent.app import serve
from antiphon.db import Database, database
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.agent_service import TOKEN, AgentProcess, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine

OTHER = "thread-fedcba9876543210"


async def test_a_locked_database_delays_the_run_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged meanwhile; when the lock is gone the run goes on as a new attempt,
    and the reader's stream ends in the whole answer."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    monkeypatch.setattr(supervisor, "FIRST_RETRY_S", 0.05)
    script = Script((Rule(((Act(text="a "), Act(gate="g"), Act(text="b")),)),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        before = await client.until("text.delta")
        holder = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            engine.open("g")
            refused = await client.start("r1", thread_id=OTHER)
            assert (refused["code"], refused["retryable"]) == ("internal", True)
            assert "sql" not in refused["message"].lower()
            holder.execute("ROLLBACK")
        finally:
            holder.close()
        rest = await client.end()
        assert rest[-1]["text"] == "a b"
        assert rest[-1]["attempt"] == 2
        resumed = next(event for event in rest if event["type"] == "run.resumed")
        assert resumed["seq"] <= before[-1]["seq"] + 1
        after = [event for event in rest if event["attempt"] == 2]
        assert [event["seq"] for event in after] == list(
            range(resumed["seq"], resumed["seq"] + len(after))
        )
        assert (await client.run("r1", thread_id=OTHER))[-1]["text"] == "a b"


async def test_while_it_stops_new_verbs_are_refused_and_runs_are_left_running(
    tmp_path: Path,
) -> None:
    """`shutting_down`; the run is not failed and goes on at the next start."""
    script = Script((Rule(((Act(text="a "), Act(stubborn_ms=300)), (Act(text="b"),))),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        await client.until("text.delta")
        agent.stop.set()
        await asyncio.sleep(0)  # the service wakes up; its run takes 0.3 s to close
        refused = await client.start("r2", thread_id=OTHER)
        assert (refused["code"], refused["retryable"]) == ("shutting_down", True)
        with pytest.raises(ConnectionClosed) as caught:
            await client.end()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
    engine.script = Script((Rule(((Act(text="whole"),),)),))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start("r1", cursor={"run_id": "r1", "attempt": 1, "seq": 0})
        assert (await client.end())[-1]["text"] == "whole"


async def test_it_stops_in_time_though_a_client_is_dead(tmp_path: Path) -> None:
    """A peer that reads nothing and never closes does not hold the process."""
    script = Script((Rule(((Act(words=5), Act(hang=True)),)),))
    agent = await AgentProcess.start(tmp_path, script)
    try:
        async with raw_client(agent.url, close_timeout=0.1) as client:
            await client.start()
            client.socket.transport.pause_reading()
            async with asyncio.timeout(6):
                assert await agent.terminate() == 0
    finally:
        await agent.kill()


async def test_a_socket_that_dies_while_its_verb_is_done_loses_no_run(tmp_path: Path) -> None:
    """The run that it asked for is made and worked on all the same, or not made at all."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent:
        for number in range(20):
            async with raw_client(agent.url) as client:
                thread = f"thread-{number:016d}"
                await client.send("run.start", thread, run_id="r", input=[{"text": "hi"}])
                client.socket.transport.abort()
        async with raw_client(agent.url) as client:
            for number in range(20):
                answer = await client.start("r", thread_id=f"thread-{number:016d}")
                assert answer["type"] == "ok"
                frame = await client.recv()
                if frame["type"] == "snapshot" and frame["status"] == "success":
                    continue
                assert (await client.end())[-1]["text"] == "You said: hi"


async def test_the_offline_model_answers_with_its_tools(tmp_path: Path) -> None:
    """The real registry and the real tools behind the socket."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = AgentSettings(port=0, token=Secret(TOKEN))
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve(General(state_dir=str(tmp_path)), settings, ready=address.set_result, stop=stop)
        )
        async with raw_client(await address) as client:
            events = await client.run("r1", "What is 6 * 7?")
        stop.set()
    assert events[0]["model"] == "offline"
    assert any(event["type"] == "tool.result" for event in events)
    assert "42" in events[-1]["text"]


async def test_a_run_that_another_process_took_over_is_left_to_it(tmp_path: Path) -> None:
    """A zombie can't finish what another has: it writes no event and no end."""
    script = Script((Rule(((Act(text="a "), Act(gate="g"), Act(text="b")),)),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        await client.until("text.delta")
        with sqlite3.connect(tmp_path / "agent.db") as other:
            other.execute("UPDATE runs SET attempt = 7")
        other.close()
        engine.open("g")
        with pytest.raises(TimeoutError):
            await client.until("run.finished", "run.error", "text.end", timeout=0.2)
    with sqlite3.connect(tmp_path / "agent.db") as after:
        assert after.execute("SELECT status, attempt FROM runs").fetchall() == [("running", 7)]
        assert after.execute("SELECT type FROM events").fetchall()[-1] != ("run.finished",)
    after.close()


async def test_deltas_are_committed_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand words cost a few transactions, not a thousand."""
    writes = 0
    write = Database.write

    async def counted(self: Database, function: Callable[[Connection], object]) -> object:
        nonlocal writes
        writes += 1
        return await write(self, function)

    monkeypatch.setattr(Database, "write", counted)
    engine = ScriptedEngine(Script((Rule(((Act(words=1_000),),)),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run()
    assert len(events) == 1_004
    assert writes < 100


async def test_the_same_start_from_many_sockets_at_once_is_one_run(tmp_path: Path) -> None:
    """One model call, and every socket gets the same end; another run is refused meanwhile."""
    engine = ScriptedEngine(Script((Rule(((Act(text="a "), Act(gate="g"), Act(text="b")),)),)))

    async def ask(url: str, run_id: str) -> str:
        async with raw_client(url) as client:
            answer = await client.start(run_id)
            if answer["type"] == "error":
                return str(answer["code"])
            frame = await client.recv()
            while frame["type"] != "run.finished" and frame.get("status") != "success":
                frame = await client.recv()
            return str(frame.get("text") or frame["texts"][0])

    async with running_agent(tmp_path, engine) as agent, asyncio.TaskGroup() as group:
        same = [group.create_task(ask(agent.url, "r1")) for _ in range(10)]
        await engine.reached("g")
        others = [group.create_task(ask(agent.url, f"s{n}")) for n in range(5)]
        await asyncio.wait(others)
        engine.open("g")
    assert {task.result() for task in same} == {"a b"}
    assert {task.result() for task in others} == {"thread_busy"}
    assert len(engine.requests) == 1
