"""Erasing what one person asked: which runs, from where, in the middle of everything, and across
kill -9."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from antiphon.agent.engines.port import AssistantStep, UserText
from antiphon.testing.agent_service import (
    AgentProcess,
    Frame,
    RawClient,
    raw_client,
    running_agent,
)
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

ANNA, BERT = "@anna:example.org", "@bert:example.org"
MARK = "CANARY"
SLOW = Rule(((Act(text="half an "), Act(gate="g"), Act(text="answer")),), when="slow")
SCRIPT = Script((SLOW, say("You said: {question}")))


def database_bytes(folder: Path) -> bytes:
    """All that the agent keeps on disk."""
    return b"".join(path.read_bytes() for path in folder.rglob("agent.db*"))


async def start(client: RawClient, run_id: str, *parts: tuple[str, str | None]) -> Frame:
    said = [{"text": text, "author": author} for text, author in parts]
    return await client.ask("run.start", run_id=run_id, input=said)


async def run(client: RawClient, run_id: str, *parts: tuple[str, str | None]) -> list[Frame]:
    assert (await start(client, run_id, *parts))["type"] == "ok"
    return await client.end()


async def erase(client: RawClient, author: str = ANNA, **fields: str) -> Frame:
    return await client.ask("author.erase", author=author, **fields)


def texts(engine: ScriptedEngine) -> list[str]:
    """What the model was sent last."""
    history = engine.requests[-1].history
    return [item.text for item in history if isinstance(item, UserText | AssistantStep)]


async def test_every_run_that_the_author_had_a_part_in_is_erased_and_no_other(
    tmp_path: Path,
) -> None:
    """From history, archive and disk; the count is said; once more erases nothing."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await run(client, "r1", (f"{MARK} one", ANNA))
        await run(client, "r2", ("kept", BERT))
        await run(client, "r3", ("of both", BERT), (f"{MARK} two", ANNA))
        await run(client, "r4", ("of nobody", None))
        assert MARK.encode() in database_bytes(tmp_path)
        assert (await erase(client))["erased"] == 2
        assert MARK.encode() not in database_bytes(tmp_path)
        assert (await erase(client))["erased"] == 0
        await run(client, "r5", ("more", BERT))
        assert "kept" in str(texts(engine))
        assert "of nobody" in str(texts(engine))
        assert MARK not in str(engine.requests[-1])
        assert "of both" not in str(engine.requests[-1])
        for run_id in ("r1", "r3"):
            await client.ask("attach", run_id=run_id)
            snapshot = (await client.until("snapshot"))[-1]
            assert (snapshot["status"], snapshot["texts"]) == ("cancelled", [])
        archive = await client.ask("thread.export")
        piece = {key: archive[key] for key in ("total", "digest", "offset", "data")}
        assert (await client.ask("thread.import", "another-0123456789abcdef", **piece))[
            "type"
        ] == "ok"


@pytest.mark.parametrize(
    "author",
    [
        "@Anna:example.org",
        "@anna:example.org ",
        "@\u0430nna:example.org",
        "@anna:example",
        "%",
        "@*:*",
    ],
)
async def test_an_author_is_meant_to_the_letter(tmp_path: Path, author: str) -> None:
    """No look-alike, no other case, no pattern."""
    async with (
        running_agent(tmp_path, ScriptedEngine(SCRIPT)) as agent,
        raw_client(agent.url) as client,
    ):
        await run(client, "r1", ("mine", ANNA))
        assert (await erase(client, author))["erased"] == 0
        assert (await erase(client))["erased"] == 1


async def test_an_open_run_is_stopped_and_erased(tmp_path: Path) -> None:
    """Its end comes without a word of it, and the thread is free."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await start(client, "r1", (f"slow {MARK}", ANNA))
        await engine.reached("g")
        assert (await erase(client))["erased"] == 1
        assert engine.running == 0
        end = (await client.end())[-1]
        assert (end["outcome"], end["text"]) == ("cancelled", "")
        assert MARK.encode() not in database_bytes(tmp_path)
        assert (await run(client, "r2", ("quick", BERT)))[-1]["text"] == "You said: quick"


async def test_anothers_open_run_goes_on_without_what_was_erased(tmp_path: Path) -> None:
    """Its next step is sent nothing of it any more, though it began with that."""
    two_steps = Rule(
        ((Act(text="A. "), Act(call=("c1", "lookup", '{"gate": "g"}'))), (Act(text="B."),)),
        when="go on",
    )
    engine = ScriptedEngine(Script((two_steps, say("fine"))))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await run(client, "r1", (MARK, ANNA))
        await start(client, "r2", ("go on", BERT))
        await engine.reached("g")
        assert MARK in str(engine.requests[-1])
        assert (await erase(client))["erased"] == 1
        engine.open("g")
        assert (await client.end())[-1]["text"] == "A. \n\nB."
        assert len(engine.requests) == 3
        assert MARK not in str(engine.requests[-1])


async def test_pages_of_an_archive_that_was_begun_before_are_not_handed_out(
    tmp_path: Path,
) -> None:
    """Nor after a withdrawal or a deletion: what lies ready in memory is stale then."""
    async with (
        running_agent(tmp_path, ScriptedEngine(Script((say("yes"),)))) as agent,
        raw_client(agent.url) as client,
    ):
        for number, author in enumerate((BERT, BERT, ANNA, BERT, BERT)):
            await run(client, f"r{number}", ("long " * 39_000, author))
        first = await client.ask("thread.export")
        page = {"offset": len(first["data"]) * 3 // 4, "digest": first["digest"]}
        assert (await client.ask("thread.export", **page))["type"] == "thread.archive"
        await erase(client)
        assert (await client.ask("thread.export", **page))["code"] == "conflict"
        first = await client.ask("thread.export")
        page["digest"] = first["digest"]
        await client.ask("thread.delete")
        assert (await client.ask("thread.export", **page))["code"] == "thread_gone"


async def test_threads_that_are_not_there(tmp_path: Path) -> None:
    """As a withdrawal: a deleted one is gone, of one that never was nothing is erased or made."""
    async with (
        running_agent(tmp_path, ScriptedEngine(SCRIPT)) as agent,
        raw_client(agent.url) as client,
    ):
        assert (await erase(client))["erased"] == 0
        assert (await client.ask("attach"))["code"] == "not_found"
        await client.ask("thread.delete")
        assert (await erase(client))["code"] == "thread_gone"
        assert (await client.ask("author.erase", author=""))["code"] == "bad_frame"
        assert (await client.ask("author.erase"))["code"] == "bad_frame"


async def test_a_start_that_comes_again_after_it_brings_nothing_back(tmp_path: Path) -> None:
    """A surface that was cut off asks again for the same run."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await run(client, "r1", (MARK, ANNA))
        await erase(client)
        assert (await start(client, "r1", (MARK, ANNA)))["type"] == "ok"
        assert (await client.until("snapshot"))[-1]["status"] == "cancelled"
        assert len(engine.requests) == 1
        assert MARK.encode() not in database_bytes(tmp_path)
        await run(client, "r2", ("new", ANNA))
        assert (await erase(client))["erased"] == 1


async def test_many_runs_are_erased_at_once(tmp_path: Path) -> None:
    """In one transaction, in bounded time, while another thread is answered."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        for number in range(60):
            await run(client, f"r{number}", (f"{MARK} {number}", ANNA if number % 2 else BERT))
        async with raw_client(agent.url) as other, asyncio.timeout(10):
            erasing = asyncio.create_task(erase(client))
            assert (await other.run("x1", thread_id="thread-fedcba9876543210"))[-1]["text"]
            assert (await erasing)["erased"] == 30
    with sqlite3.connect(tmp_path / "agent.db") as connection:
        count = "SELECT count(*) FROM runs WHERE status = ?"
        assert connection.execute(count, ("withdrawn",)).fetchone() == (30,)
        assert connection.execute("SELECT count(*) FROM steps").fetchone() == (31,)


@pytest.mark.parametrize("point", ["erase.before_commit", "erase.committed"])
@pytest.mark.parametrize("when", ["ended", "running"])
async def test_killed_in_mid_erase_it_is_all_or_nothing(
    tmp_path: Path, point: str, when: str
) -> None:
    """kill -9 before its commit: nothing of the ended runs is gone; after it: all, from the disk
    too, once the agent is back. Asking again, as a client does, ends it in both."""
    script = Script((SLOW, say("fine")))
    agent = await AgentProcess.start(tmp_path, script, {"ANTIPHON_CRASH": point})
    try:
        async with raw_client(agent.url) as client:
            await run(client, "r1", (f"{MARK} one", ANNA))
            await run(client, "r2", (f"{MARK} two", ANNA))
            await run(client, "r3", ("kept", BERT))
            if when == "running":
                await start(client, "r4", (f"slow {MARK}", ANNA))
                await client.until("text.delta")
            await client.send("author.erase", author=ANNA)
            await asyncio.wait_for(agent.process.wait(), 10)
        agent = await AgentProcess.start(tmp_path, script)
        async with raw_client(agent.url) as client:
            kept = MARK.encode() in database_bytes(tmp_path)
            assert kept is (point == "erase.before_commit")
            runs = 3 if when == "running" else 2
            assert (await erase(client))["erased"] == (runs if kept else 0)
            assert MARK.encode() not in database_bytes(tmp_path)
            await client.ask("attach", run_id="r3")
            assert (await client.until("snapshot"))[-1]["texts"] == ["fine"]
            assert (await run(client, "r5", ("next", BERT)))[-1]["outcome"] == "success"
    finally:
        await agent.kill()


async def test_on_postgres_it_is_the_same(tmp_path: Path, postgres_url: str) -> None:
    """Also where another agent works on the author's open run: it may write no more."""
    script = Script((SLOW, say("fine")))
    mine, other = ScriptedEngine(script), ScriptedEngine(script)
    async with (
        running_agent(tmp_path / "a", mine, database=postgres_url) as first,
        raw_client(first.url) as client,
    ):
        await run(client, "r1", (MARK, ANNA))
        await run(client, "r2", ("kept", BERT))
        async with (
            running_agent(tmp_path / "b", other, database=postgres_url) as second,
            raw_client(second.url) as late,
        ):
            await start(client, "r3", (f"slow {MARK}", ANNA))
            await mine.reached("g")
            assert (await erase(late))["erased"] == 2
            mine.open("g")
            assert (await run(late, "r4", ("next", BERT)))[-1]["text"] == "fine"
            assert MARK not in str(other.requests[-1])
            archive = await late.ask("thread.export")
            assert archive["type"] == "thread.archive"


async def test_no_query_reads_what_was_erased(tmp_path: Path) -> None:
    """Every table, by its rows."""
    call = Act(call=("c1", "effect", f'{{"note": "{MARK}", "say": "{MARK}"}}'))
    script = Script((Rule(((Act(text=MARK), call), (Act(text=MARK),)), when=MARK), say("fine")))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        await run(client, "r1", (MARK, ANNA))
        await erase(client)
    with sqlite3.connect(tmp_path / "agent.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert MARK not in dump
    assert ANNA not in dump
