"""Cancel, withdraw and delete: at every time in a run's life, and said twice."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from antiphon.agent import live
from antiphon.agent.engines.port import AssistantStep, ToolReturn, UserText
from antiphon.testing.agent_service import RawClient, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

SLOW = Rule(((Act(text="half an "), Act(gate="g"), Act(text="answer")),), when="slow")
SCRIPT = Script((SLOW, say("quick answer")))
MARK = "CANARY"


def database_bytes(state: Path) -> bytes:
    """All that the agent keeps on disk."""
    return b"".join(path.read_bytes() for path in state.glob("agent.db*"))


async def begun(client: RawClient, engine: ScriptedEngine, text: str = "slow") -> None:
    await client.start("r1", text)
    await engine.reached("g")
    await client.until("text.delta")


async def test_cancel_closes_the_model_step_and_keeps_the_text_so_far(tmp_path: Path) -> None:
    """The model's own request ends; the end says cancelled, with what there was; a second
    cancel changes nothing."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await begun(client, engine)
        assert (await client.ask("run.cancel", run_id="r1"))["type"] == "ok"
        assert (engine.running, engine.closed_early) == (0, 1)
        end = (await client.end())[-1]
        assert (end["type"], end["outcome"]) == ("run.finished", "cancelled")
        assert end["text"] == "half an "
        assert (await client.ask("run.cancel", run_id="r1"))["type"] == "ok"
        after = await client.run("r2")
        assert after[0]["seq"] == end["seq"] + 1


async def test_a_cancelled_run_is_history_with_its_text_and_a_note(tmp_path: Path) -> None:
    """The next step is sent the question and what had been said of the answer."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await begun(client, engine)
        await client.ask("run.cancel", run_id="r1")
        await client.end()
        await client.run("r2", "next")
    history = engine.requests[-1].history
    assert history == (
        UserText("slow"),
        AssistantStep("half an \n[The answer was stopped here.]"),
        UserText("next"),
    )


async def test_cancel_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """`ok`, and no second end."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        end = (await client.run())[-1]
        assert (await client.ask("run.cancel", run_id="r1"))["type"] == "ok"
        await client.ask("attach", run_id="r1")
        snapshot = await client.recv()
        assert (snapshot["status"], snapshot["seq"]) == ("success", end["seq"])


@pytest.mark.parametrize("verb", ["run.cancel", "run.withdraw"])
async def test_a_cancel_that_overtakes_its_start_ends_it_at_once(tmp_path: Path, verb: str) -> None:
    """The start gets a run that is over; no model was asked; also after a restart."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        assert (await client.ask(verb, run_id="r1"))["type"] == "ok"
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run("r1", MARK)
        assert [event["type"] for event in events] == ["run.started", "run.finished"]
        assert events[-1]["outcome"] == "cancelled"
        await client.start("r1", MARK)
        assert (await client.recv())["status"] == "cancelled"
        assert (await client.run("r2"))[-1]["text"] == "quick answer"
    assert len(engine.requests) == 1
    assert (MARK.encode() in database_bytes(tmp_path)) is (verb == "run.cancel")


async def test_cancel_while_a_tool_runs_closes_the_call(tmp_path: Path) -> None:
    """The call's outcome is unknown, later calls were not run, and history has no open call."""
    calls = (
        Act(call=("c1", "effect", '{"gate": "g"}')),
        Act(call=("c2", "effect", "{}")),
    )
    engine = ScriptedEngine(Script((Rule((calls,), when="slow"), say("fine"))))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start("r1", "slow")
        await engine.reached("g")
        await client.ask("run.cancel", run_id="r1")
        assert (await client.end())[-1]["outcome"] == "cancelled"
        await client.run("r2", "next")
    effects = [line for line in engine.journal.lines if "effect" in line]
    assert len(effects) == 1
    returns = [item for item in engine.requests[-1].history if isinstance(item, ToolReturn)]
    assert [item.call_id for item in returns] == ["c1", "c2"]
    assert returns[0].content.startswith("outcome unknown")
    assert returns[1].content.startswith("not run")


async def test_a_step_that_will_not_close_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run ends in time all the same."""
    monkeypatch.setattr(live, "CLOSE_GRACE_S", 0.05)
    script = Script((Rule(((Act(text="a"), Act(stubborn_ms=1_500)),)),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        await client.until("text.delta")
        async with asyncio.timeout(1):
            await client.ask("run.cancel", run_id="r1")
            assert (await client.end())[-1]["text"] == "a"


@pytest.mark.parametrize("when", ["running", "ended"])
async def test_withdraw_erases_input_output_and_tool_data(tmp_path: Path, when: str) -> None:
    """Nothing of the exchange is on the disk or goes to the model; the id stays used."""
    call = Act(call=("c1", "effect", f'{{"note": "{MARK}", "say": "{MARK}"}}'))
    steps = ((Act(text=f"{MARK} 1"), call), (Act(text=f"{MARK} 2"), Act(gate="g")))
    engine = ScriptedEngine(Script((Rule(steps, when=MARK), say("fine"))))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r0", "before")
        await client.start("r1", f"{MARK} 0")
        await engine.reached("g")
        if when == "ended":
            engine.open("g")
            await client.end()
        assert MARK.encode() in database_bytes(tmp_path)
        assert (await client.ask("run.withdraw", run_id="r1"))["type"] == "ok"
        assert MARK.encode() not in database_bytes(tmp_path)
        if when == "running":
            end = (await client.end())[-1]
            assert (end["outcome"], end["text"]) == ("cancelled", "")
        assert (await client.ask("run.withdraw", run_id="r1"))["type"] == "ok"
        await client.start("r1", f"{MARK} 0")
        snapshot = (await client.until("snapshot"))[-1]
        assert (snapshot["status"], snapshot.get("texts", [])) == ("cancelled", [])
        await client.run("r2", "after")
    assert [item.text for item in engine.requests[-1].history if hasattr(item, "text")] == [
        "before",
        "fine",
        "after",
    ]
    with sqlite3.connect(tmp_path / "agent.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert MARK not in dump
    assert "r1" in dump


async def test_a_cursor_inside_a_withdrawn_run_gets_a_snapshot(tmp_path: Path) -> None:
    """Its events are gone, so there is no replay across them."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        first = await client.run("r1")
        await client.run("r2")
        await client.ask("run.withdraw", run_id="r2")
        cursor = {"run_id": "r1", "attempt": 1, "seq": first[-2]["seq"]}
        await client.ask("attach", cursor=cursor)
        assert (await client.recv()) == first[-1]
        snapshot = await client.recv()
        assert snapshot["type"] == "snapshot"


@pytest.mark.parametrize("when", ["running", "ended", "unknown"])
async def test_a_deleted_thread_is_gone_for_good(tmp_path: Path, when: str) -> None:
    """All rows but the tombstone are erased, from the disk too; later verbs get `thread_gone`;
    deleting again is `ok`."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        if when == "running":
            await begun(client, engine, f"slow {MARK}")
        if when == "ended":
            await client.run("r1", MARK)
        assert (MARK.encode() in database_bytes(tmp_path)) is (when != "unknown")
        assert (await client.ask("thread.delete"))["type"] == "ok"
        assert MARK.encode() not in database_bytes(tmp_path)
        if when == "running":
            end = (await client.end())[-1]
            assert (end["outcome"], end["text"]) == ("cancelled", "")
            assert engine.running == 0
        for verb, fields in (
            ("attach", {}),
            ("run.start", {"run_id": "r1", "input": [{"text": "x"}]}),
            ("run.cancel", {"run_id": "r1"}),
            ("run.withdraw", {"run_id": "r1"}),
        ):
            assert (await client.ask(verb, **fields))["code"] == "thread_gone", verb
        assert (await client.ask("thread.delete"))["type"] == "ok"
    with sqlite3.connect(tmp_path / "agent.db") as connection:
        dump = "\n".join(connection.iterdump())
    assert MARK not in dump
    assert 'INSERT INTO "threads"' not in dump


async def test_there_is_no_approval_to_resolve(tmp_path: Path) -> None:
    """`not_found`: no tool asks for one yet."""
    async with (
        running_agent(tmp_path, ScriptedEngine(SCRIPT)) as agent,
        raw_client(agent.url) as client,
    ):
        refused = await client.ask(
            "approval.resolve",
            approval_id="a1",
            args_hash="0",
            decision="approve",
            decider="@a:b",
        )
    assert refused["code"] == "not_found"


async def test_verbs_of_one_thread_are_done_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    """A start, its cancel and the next start, sent without waiting."""
    engine = ScriptedEngine(SCRIPT)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.send("run.start", run_id="r1", input=[{"text": "slow"}])
        await client.send("run.cancel", run_id="r1")
        await client.send("run.start", run_id="r2", input=[{"text": "quick"}])
        first = await client.end()
        second = await client.end()
    assert (first[-1]["run_id"], first[-1]["outcome"]) == ("r1", "cancelled")
    assert (second[-1]["run_id"], second[-1]["outcome"]) == ("r2", "success")
    events = [frame for frame in first + second if frame["type"] not in ("ok", "error")]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
