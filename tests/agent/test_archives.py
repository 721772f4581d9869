"""Memories as archives, on the real agent: what moves, what does not, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.agent import archive as archives
from antiphon.agent.archive import Archive, PastCall, PastNote, PastRun, PastStep
from antiphon.agent.engines.port import AssistantStep, ToolReturn, UserText
from antiphon.agent.model import FrozenSettings, ThreadId
from antiphon.agent.store import MIGRATIONS, notes, steps, tombstones
from antiphon.agent.store import archives as rows
from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import (
    MAX_ARCHIVE_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    InputPart,
    RunFailure,
    Usage,
)
from antiphon.clock import SystemChance, SystemClock
from antiphon.db import Database
from antiphon.errors import AgentProtocolError
from antiphon.settings import Secret
from antiphon.testing.agent_service import THREAD, TOKEN, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

NEW = "another-0123456789abcdef"
OTHER_TOKEN = "token-of-the-other-surface"
LOOK = Rule(
    ((Act(text="Look. "), Act(call=("c1", "lookup", '{"note": "milk"}'))), (Act(text="Found."),)),
    when="look",
)
SCRIPT = Script((LOOK, say("You said: {question}")))
SETTINGS = FrozenSettings("offline", "", (), 100, 1_000, 16, 60.0)


def a_call(call_id: str = "c1") -> PastCall:
    return PastCall(call_id, 0, "lookup", "{}", "ok", "42", truncated=False)


def a_run(run_id: str = "r1", **fields: object) -> PastRun:
    run = PastRun(
        run_id=run_id,
        status="success",
        attempt=2,
        body_hash="h",
        input=(InputPart("hi", "@anna:x"), InputPart("you\x00")),
        settings=SETTINGS,
        error=None,
        created_ms=5,
        ended_ms=9,
        steps=(
            PastStep(0, True, "Look.", 3, 4, 6, (a_call(f"c-{run_id}"),)),
            PastStep(1, False, "It is", None, None, 7, ()),
        ),
    )
    return msgspec.structs.replace(run, **fields)


def an_archive(*runs: PastRun, **fields: object) -> Archive:
    made = Archive(archives.KIND, 1, runs or (a_run(),), ())
    return msgspec.structs.replace(made, **fields)


FULL = an_archive(
    a_run(),
    a_run("r2", status="cancelled", ended_ms=None, usage=Usage(3, 4, 0.5, 2, True)),
    a_run("r3", status="error", settings=None, error=RunFailure("deadline", "Too long.", True)),
    notes=(PastNote(3, "c-r1", "r1", "milk", 8),),
)

# --- the store ------------------------------------------------------------------------------------


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(store_url, MIGRATIONS)
    yield opened
    await opened.close()


async def test_what_is_written_is_read_again(database: Database) -> None:
    """To the byte; a second time it changes nothing; history and notes are the thread's."""
    thread = ThreadId("matrix", THREAD)
    for _ in range(2):
        await database.write(lambda c: rows.write(c, thread, FULL, 1))
    found = await database.read(lambda c: rows.read(c, thread))
    assert found == FULL
    assert archives.decode(archives.encode(found)) == FULL
    history = await database.read(lambda c: steps.turns(c, thread, 99))
    assert [turn.run_id for turn in history] == ["r2", "r1"]
    assert [note.text for note in await database.read(lambda c: notes.all_of(c, thread))] == [
        "milk"
    ]
    assert await database.read(lambda c: rows.read(c, ThreadId("terminal", THREAD))) is None


async def test_a_thread_that_was_used_takes_no_memory(database: Database) -> None:
    """Nor one of which only a cancelled run is known; and nothing is half written."""
    thread = ThreadId("matrix", THREAD)
    await database.write(lambda c: tombstones.bury(c, thread, "r9", "cancelled", 1))
    with pytest.raises(AgentProtocolError) as caught:
        await database.write(lambda c: rows.write(c, thread, FULL, 1))
    assert caught.value.code == "conflict"
    assert await database.read(lambda c: rows.read(c, thread)) is None


# --- the format -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        an_archive(a_run(), a_run()),
        an_archive(a_run("r1"), a_run("r2", steps=a_run("r1").steps)),  # a call twice
        an_archive(a_run(steps=a_run().steps * 2)),
        an_archive(a_run(steps=(PastStep(0, True, "\x00", 1, 1, 1, ()),))),
        an_archive(notes=(PastNote(1, "c1", "r2", "of no run", 1),)),
        an_archive(notes=(PastNote(1, "c1", "r1", "a", 1), PastNote(1, "c2", "r1", "b", 1))),
        an_archive(a_run("r 1")),
        an_archive(a_run("r" * 129)),
        an_archive(a_run(created_ms=-1)),
        an_archive(a_run(status="running")),
        an_archive(kind="something"),
        msgspec.structs.replace(FULL, runs=()),
    ],
)
def test_rows_that_no_thread_could_have_are_refused(bad: Archive) -> None:
    """Before anything is written."""
    with pytest.raises(AgentProtocolError) as caught:
        archives.decode(msgspec.json.encode(bad))
    assert caught.value.code == "bad_archive"


def test_an_archive_of_before_usage_was_counted_stays_as_it_was() -> None:
    """To the byte: a memory that was imported from one is exported the same."""
    data = archives.encode(an_archive())
    assert b"usage" not in data
    assert archives.encode(archives.decode(data)) == data


def test_a_newer_archive_says_so() -> None:
    """Whatever else is in it."""
    with pytest.raises(AgentProtocolError, match="newer agent made it") as caught:
        archives.decode(b'{"kind": "antiphon.thread", "version": 2, "memories": []}')
    assert caught.value.code == "bad_archive"


# --- the service ----------------------------------------------------------------------------------


async def exported(url: str, thread_id: str = THREAD, token: str = TOKEN) -> bytes:
    async with AgentClient(url, token, clock=SystemClock(), chance=SystemChance()) as client:
        return await client.export(thread_id)


async def imported(url: str, data: bytes, thread_id: str = NEW, token: str = TOKEN) -> None:
    async with AgentClient(url, token, clock=SystemClock(), chance=SystemChance()) as client:
        await client.import_(thread_id, data)


async def test_the_model_sees_an_imported_memory(tmp_path: Path) -> None:
    """Questions, answers and tool results of the old thread; also at another agent."""
    first, second = ScriptedEngine(SCRIPT), ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path / "one", first) as agent, raw_client(agent.url) as client:
        await client.run("r1", "look, my name is Ada")
        await client.run("r2", "and more")
        data = await exported(agent.url)
    async with running_agent(tmp_path / "two", second) as agent:
        await imported(agent.url, data)
        async with raw_client(agent.url) as client:
            await client.start("r1", "look, my name is Ada", thread_id=NEW)
            (again,) = await client.until("snapshot")
            assert (again["status"], again["texts"]) == ("success", ["Look. ", "Found."])
            assert (await client.start("r1", "another question", thread_id=NEW))[
                "code"
            ] == "conflict"
            assert not second.requests
            await client.run("r3", "who am I?", thread_id=NEW)
    seen = second.requests[0].history
    kinds = [UserText, AssistantStep, ToolReturn, AssistantStep, UserText, AssistantStep, UserText]
    assert [type(item) for item in seen] == kinds
    assert "Ada" in str(seen[0])


async def test_archives_move_only_within_their_surface(tmp_path: Path) -> None:
    """Another surface's thread is not found, and its id is free."""
    tokens = {"matrix": Secret(TOKEN), "other": Secret(OTHER_TOKEN)}
    engine = ScriptedEngine(SCRIPT)
    async with (
        running_agent(tmp_path, engine, token=Secret(""), tokens=tokens) as agent,
        raw_client(agent.url) as client,
    ):
        await client.run("r1", "mine")
        data = await exported(agent.url)
        with pytest.raises(AgentProtocolError) as caught:
            await exported(agent.url, token=OTHER_TOKEN)
        assert caught.value.code == "not_found"
        await imported(agent.url, data, THREAD, OTHER_TOKEN)
        assert await exported(agent.url, token=OTHER_TOKEN) == data


async def test_a_run_larger_than_a_frame_moves(tmp_path: Path) -> None:
    """In pieces, each of them a frame that fits."""
    question = "\U0001f600" * 200_000  # 800,000 bytes
    calls = tuple(
        (Act(call=(f"c{n}", "lookup", '{"say": "\U0001f600", "times": 19000}')),) for n in range(6)
    )
    engine = ScriptedEngine(Script((Rule((*calls, (Act(text="end"),))),), context_tokens=9_000_000))
    async with (
        running_agent(tmp_path, engine, history_tokens=9_000_000) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run("r1", question)
        assert events[-1]["type"] == "run.finished"
        data = await exported(agent.url)
        assert len(data) > MAX_FRAME_BYTES
        await imported(agent.url, data)
        assert await exported(agent.url, NEW) == data


def piece(whole: bytes, offset: int = 0, **fields: object) -> dict[str, object]:
    return {
        "thread_id": NEW,
        "total": len(whole),
        "digest": hashlib.sha256(whole).hexdigest(),
        "offset": offset,
        "data": msgspec.to_builtins(whole),
        **fields,
    }


async def test_what_does_not_fit_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    """Each with its code; the connection lives, and a whole archive is taken after all that."""
    data = archives.encode(FULL)
    half = {"data": msgspec.to_builtins(data[:9])}
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:

        async def refused(**fields: object) -> object:
            return (await client.ask("thread.import", **fields)).get("code")  # type: ignore[arg-type]

        assert await refused(**piece(data, 9)) == "not_found"
        assert await refused(**piece(data, total=MAX_ARCHIVE_BYTES + 1)) == "archive_too_large"
        assert await refused(**piece(data, digest="0" * 64)) == "bad_archive"
        assert await refused(**piece(data, total=3)) == "bad_archive"
        assert await refused(**piece(data, data="")) == "bad_archive"
        assert await refused(**piece(data, data="not base64!")) == "bad_frame"
        assert await refused(**piece(b"rubbish")) == "bad_archive"
        assert await refused(**piece(data, **half)) is None
        assert await refused(**piece(data[9:], 9)) == "not_found"  # of another archive
        assert (await client.ask("thread.export", NEW))["code"] == "not_found"
        assert await refused(**piece(data, **half)) is None
        async with raw_client(agent.url) as another:  # what was begun is its connection's alone
            rest = piece(data, 9, data=msgspec.to_builtins(data[9:]))
            assert (await another.ask("thread.import", **rest))["code"] == "not_found"  # type: ignore[arg-type]
        assert await refused(**rest) is None
        assert await exported(agent.url, NEW) == data


async def test_the_pages_of_a_changed_thread_do_not_mix(tmp_path: Path) -> None:
    """A page goes on with what was begun on its connection; another one says that it changed."""
    engine = ScriptedEngine(Script((say("yes"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        for number in range(4):
            await client.run(f"r{number}", "long " * 39_000)
        first = await client.ask("thread.export")
        assert first["total"] > MAX_CHUNK_BYTES
        await client.run("r4")
        on = {"offset": MAX_CHUNK_BYTES, "digest": first["digest"]}
        second = await client.ask("thread.export", **on)
        assert second["digest"] == first["digest"]
        async with raw_client(agent.url) as another:
            assert (await another.ask("thread.export", **on))["code"] == "conflict"
            beyond = await another.ask("thread.export", offset=10_000_000)
            assert beyond["code"] == "bad_frame"


async def test_a_deleted_thread_neither_gives_nor_takes(tmp_path: Path) -> None:
    """`thread_gone`, and its tombstone stays alone."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run()
        data = await exported(agent.url)
        await client.ask("thread.delete")
        for attempt in (exported(agent.url), imported(agent.url, data, THREAD)):
            with pytest.raises(AgentProtocolError) as caught:
                await attempt
            assert caught.value.code == "thread_gone"
