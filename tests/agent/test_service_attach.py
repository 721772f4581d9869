"""Attaching: replay without gap or repeat from every point, and snapshots where there is none."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from antiphon.agent import log
from antiphon.agent.store import MIGRATIONS, schema
from antiphon.agent_api.answer import Answer
from antiphon.agent_api.frames import decode_frame
from antiphon.agent_api.messages import Event
from antiphon.db import Database
from antiphon.testing.agent_service import THREAD, Frame, RawClient, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

TOOLS = Script(
    (
        Rule(
            (
                (Act(reasoning="hm"), Act(text="Look: "), Act(call=("c1", "lookup", "{}"))),
                (Act(words=5), Act(text="end")),
            )
        ),
    )
)


def cursor(event: Frame) -> dict[str, object]:
    return {"run_id": event["run_id"], "attempt": event["attempt"], "seq": event["seq"]}


async def replay(client: RawClient, after: Frame) -> list[Frame]:
    answer = await client.ask("attach", cursor=cursor(after))
    assert answer["type"] == "ok", answer
    return await client.end()


@pytest.mark.parametrize("restarted", [False, True])
async def test_replay_from_every_point_of_a_run_is_the_rest_of_it(
    tmp_path: Path, restarted: bool
) -> None:
    """Cut anywhere, from memory or (after a restart) from the database: what follows is what
    would have followed."""
    engine = ScriptedEngine(TOOLS)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        whole = await client.run()
        if not restarted:
            for index, event in enumerate(whole[:-1]):
                assert await replay(client, event) == whole[index + 1 :]
    if restarted:
        async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
            for index, event in enumerate(whole[:-1]):
                assert await replay(client, event) == whole[index + 1 :]


async def test_a_cursor_at_the_end_gets_nothing_and_then_what_is_new(tmp_path: Path) -> None:
    """Neither a repeat nor a snapshot: the next event is the next run's."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        last = (await client.run())[-1]
        async with raw_client(agent.url) as other:
            await other.ask("attach", cursor=cursor(last))
            await client.start("r2")
            assert (await other.recv())["seq"] == last["seq"] + 1


async def test_a_cursor_of_seq_0_replays_the_run_from_its_start(tmp_path: Path) -> None:
    """Who has seen nothing of a run can say so."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        whole = await client.run()
        assert await replay(client, whole[0] | {"seq": 0}) == whole


async def test_attach_while_it_streams_joins_every_reader_without_gap_or_repeat(
    tmp_path: Path,
) -> None:
    """Readers that come at each word see, together with what they had, the same whole."""
    engine = ScriptedEngine(Script((Rule(((Act(words=60, pause_ms=3),),)),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as first:
        await first.start()
        seen: list[Frame] = []

        async def join(after: Frame) -> tuple[Frame, list[Frame]]:
            async with raw_client(agent.url) as client:
                return after, await replay(client, after)

        joined: list[asyncio.Task[tuple[Frame, list[Frame]]]] = []
        async with asyncio.TaskGroup() as group:
            while not seen or seen[-1]["type"] != "run.finished":
                seen.append(await first.recv())
                if len(seen) % 6 == 0:
                    joined.append(group.create_task(join(seen[-1])))
        assert len(joined) > 5
        for task in joined:
            after, rest = task.result()
            assert rest == seen[after["seq"] :]


async def test_attach_without_a_cursor_gets_a_snapshot_of_the_latest_run(tmp_path: Path) -> None:
    """The state, then what follows; of a named run where one is named."""
    engine = ScriptedEngine(TOOLS)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1")
        events = await client.run("r2")
        await client.ask("attach")
        latest = await client.recv()
        assert (latest["run_id"], latest["seq"]) == ("r2", events[-1]["seq"])
        assert (latest["texts"], latest["status"]) == (["Look: ", "w0 w1 w2 w3 w4 end"], "success")
        assert latest["tools"][0]["content"] == "done"
        await client.ask("attach", run_id="r1")
        assert (await client.recv())["run_id"] == "r1"
        await client.start("r3")
        assert (await client.recv())["seq"] == events[-1]["seq"] + 1


async def test_an_unknown_thread_or_run_is_not_found(tmp_path: Path) -> None:
    """Attaching makes nothing."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        assert (await client.ask("attach"))["code"] == "not_found"
        await client.run()
        assert (await client.ask("attach", run_id="r9"))["code"] == "not_found"


async def test_a_cursor_that_is_too_old_gets_a_snapshot(tmp_path: Path) -> None:
    """Events of runs before the previous one are pruned when a run starts."""
    engine = ScriptedEngine(Script((say("answer {question}"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        old = (await client.run("r1", "one"))[1]
        for number in (2, 3):
            await client.run(f"r{number}", "more")
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.ask("attach", cursor=cursor(old))
        snapshot = await client.recv()
        assert (snapshot["type"], snapshot["run_id"]) == ("snapshot", "r1")
        assert snapshot["texts"] == ["answer one"]


async def test_a_cursor_ahead_of_a_restored_backup_gets_a_snapshot(tmp_path: Path) -> None:
    """The database is older than what the reader has seen: the state, no crash, no repeat."""
    engine = ScriptedEngine(Script((say("answer {question}"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1", "one")
    shutil.copytree(tmp_path, tmp_path.parent / "backup")
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        ahead = (await client.run("r2", "two"))[-1]
    backup = tmp_path.parent / "backup"
    async with running_agent(backup, engine) as agent, raw_client(agent.url) as client:
        await client.ask("attach", cursor=cursor(ahead))
        snapshot = await client.recv()
        assert (snapshot["type"], snapshot["run_id"]) == ("snapshot", "r1")
        await client.start("r2", "two", cursor=cursor(ahead))
        again = await client.end()
        assert again[-1]["text"] == "answer two"


async def test_a_slow_reader_gets_a_snapshot_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls off the live log; the run and another reader go on meanwhile; what it gets adds
    up to the same answer."""
    monkeypatch.setattr(log, "MAX_FRAMES", 5)
    big = "x" * 40_000
    thoughts = tuple(Act(reasoning=big) for _ in range(300))
    engine = ScriptedEngine(
        Script((Rule(((Act(gate="go"), *thoughts, Act(text="the "), Act(text="end")),)),))
    )
    async with (
        running_agent(tmp_path, engine) as agent,
        raw_client(agent.url) as quick,
        raw_client(agent.url, max_queue=1, compression=None) as slow,
    ):
        _shrink_buffers(slow)
        await quick.start()
        await slow.ask("attach", run_id="r1")
        engine.open("go")
        whole = await quick.end()
        assert whole[-1]["text"] == "the end"
        frames = [await slow.recv()]
        while frames[-1]["type"] != "run.finished" and frames[-1].get("status") != "success":
            frames.append(await slow.recv())
    assert len(frames) < len(whole)
    answer = Answer("r1")
    for frame in frames:
        event = decode_frame(msgspec.json.encode(frame))
        assert isinstance(event, Event)
        answer.apply(event)
    assert answer.text == whole[-1]["text"]


def _shrink_buffers(client: RawClient) -> None:
    raw = client.socket.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)


async def test_detach_ends_the_stream_and_not_the_run(tmp_path: Path) -> None:
    """After the `ok` no event comes; the run is finished all the same."""
    engine = ScriptedEngine(Script((Rule(((Act(text="a"), Act(gate="g"), Act(text="b")),)),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        await client.until("text.delta")
        assert (await client.ask("detach"))["type"] == "ok"
        engine.open("g")
        async with raw_client(agent.url) as other:
            await other.ask("attach", run_id="r1")
            frame = await other.recv()
            if frame["status"] == "running":
                await other.end()
        assert (await client.ask("detach"))["type"] == "ok"
        with pytest.raises(TimeoutError):
            await client.recv(timeout=0.05)


async def test_the_stored_events_are_the_bytes_that_were_sent(tmp_path: Path) -> None:
    """After the run, the table holds each frame as the reader got it."""
    engine = ScriptedEngine(TOOLS)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        whole = await client.run()
    database = await Database.open(f"sqlite:///{tmp_path / 'agent.db'}", MIGRATIONS)
    try:
        rows = await database.read(
            lambda connection: (
                connection.execute(
                    select(schema.events.c.body)
                    .where(schema.events.c.thread_id == THREAD)
                    .order_by(schema.events.c.seq)
                )
                .scalars()
                .all()
            )
        )
    finally:
        await database.close()
    assert [msgspec.json.decode(row) for row in rows] == whole
