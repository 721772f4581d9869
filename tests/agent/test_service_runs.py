"""Runs over a real socket: start, stream, tools, finish, and what happens when one is asked for
twice, goes wrong, or another is asked for beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent.engines.port import AssistantStep, ToolReturn, UserText
from antiphon.agent_api.messages import MAX_INPUT_CHARS
from antiphon.testing.agent_service import Frame, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

OTHER = "thread-fedcba9876543210"


def types(events: list[Frame]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[Frame]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text.delta")


async def test_a_question_is_answered_as_a_stream(tmp_path: Path) -> None:
    """Events come in the order of the lifecycle, seq without a gap, and the end has the text."""
    engine = ScriptedEngine(Script((say("Hello ", "world"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run()
    assert types(events) == [
        "run.started",
        "text.start",
        "text.delta",
        "text.delta",
        "text.end",
        "run.finished",
    ]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert {event["attempt"] for event in events} == {1}
    assert events[0]["model"] == "scripted"
    assert (events[-1]["outcome"], events[-1]["text"]) == ("success", "Hello world")


async def test_a_language_is_added_to_the_prompt_the_agents_own_too(tmp_path: Path) -> None:
    """Whoever only asks for a language keeps the agent's own prompt."""
    engine = ScriptedEngine(Script((say("Hallo"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1")
        await client.run("r2", settings={"language": "Deutsch"})
        await client.run("r3", settings={"language": "Deutsch", "system_prompt": "Be brief."})
    plain, german, brief = (request.system_prompt for request in engine.requests)
    assert german == f"{plain}\n\nAnswer in Deutsch, whatever language you are asked in."
    assert brief == "Be brief.\n\nAnswer in Deutsch, whatever language you are asked in."


async def test_reasoning_is_no_part_of_the_answer(tmp_path: Path) -> None:
    """Reasoning has its own stream, closed before the text begins."""
    script = Script((Rule(((Act(reasoning="hm"), Act(text="yes")),)),))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run()
    assert types(events)[1:5] == [
        "reasoning.start",
        "reasoning.delta",
        "reasoning.end",
        "text.start",
    ]
    assert events[-1]["text"] == "yes"


async def test_tools_run_and_their_results_go_back_to_the_model(tmp_path: Path) -> None:
    """Each call is shown whole before it runs; the next step is sent call and result."""
    script = Script(
        (
            Rule(
                (
                    (Act(text="Let me look."), Act(call=("c1", "lookup", '{"say": "42"}'))),
                    (Act(text="It is 42."),),
                )
            ),
        )
    )
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run()
    assert types(events)[4:8] == ["tool.start", "tool.args", "tool.end", "tool.result"]
    result = events[7]
    assert (result["call_id"], result["content"]) == ("c1", "42")
    assert events[-1]["text"] == "Let me look.\n\nIt is 42."
    second = engine.requests[1].history
    assert [type(item) for item in second] == [UserText, AssistantStep, ToolReturn]


@pytest.mark.parametrize(
    ("name", "args", "content"),
    [
        ("nothing", "{}", "There is no tool"),
        ("lookup", "{broken", "no valid JSON"),
        ("lookup", "[1]", "must be a JSON object"),
        ("lookup", '{"crash": "boom"}', "The tool failed (error"),
    ],
)
async def test_a_call_that_cannot_work_is_an_error_for_the_model(
    tmp_path: Path, name: str, args: str, content: str
) -> None:
    """The run goes on: the model is told what was wrong with its call."""
    script = Script((Rule(((Act(call=("c1", name, args)),), (Act(text="Sorry."),))),))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run()
    result = next(event for event in events if event["type"] == "tool.result")
    assert result["outcome"] == "error"
    assert content in result["content"]
    assert "boom" not in result["content"]
    assert events[-1]["text"] == "Sorry."


async def test_an_oversized_result_is_cut_with_a_note(tmp_path: Path) -> None:
    """The result says that it was cut, in the event and to the model."""
    args = '{"say": "x", "times": 50000}'
    script = Script((Rule(((Act(call=("c1", "lookup", args)),), (Act(text="ok"),))),))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run()
    result = next(event for event in events if event["type"] == "tool.result")
    assert result["truncated"] is True
    assert result["content"].endswith("[… cut: 30,000 more characters]")


async def test_a_call_id_that_comes_again_is_made_unique(tmp_path: Path) -> None:
    """A model that numbers its calls from 1 in every run can't reach an older call's record."""
    script = Script((Rule(((Act(call=("c1", "effect", "{}")),), (Act(text="ok"),))),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1")
        await client.run("r2")
    ids = [line["call_id"] for line in engine.journal.lines if "effect" in line]
    assert len(ids) == len(set(ids)) == 2


async def test_the_same_start_again_attaches(tmp_path: Path) -> None:
    """A repeated start asks no model again; it shows the state, running and ended."""
    script = Script((Rule(((Act(text="a"), Act(gate="g"), Act(text="b")),)),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start()
        await engine.reached("g")
        async with raw_client(agent.url) as second:
            assert (await second.start())["type"] == "ok"
            snapshot = await second.recv()
            assert (snapshot["type"], snapshot["status"]) == ("snapshot", "running")
            assert snapshot["texts"] == ["a"]
            engine.open("g")
            rest = await second.end()
            assert rest[0]["seq"] == snapshot["seq"] + 1
            assert rest[-1]["text"] == "ab"
            await second.start()
            ended = await second.recv()
            assert (ended["status"], ended["texts"]) == ("success", ["ab"])
    assert len(engine.requests) == 1


async def test_the_same_start_with_a_cursor_replays(tmp_path: Path) -> None:
    """A start that is repeated after a cut goes on where the reader was."""
    engine = ScriptedEngine(Script((say("a", "b", "c"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        whole = await client.run()
        cursor = {"run_id": "r1", "attempt": 1, "seq": 3}
        await client.start(cursor=cursor)
        assert await client.end() == whole[3:]


async def test_another_body_under_the_same_id_is_a_conflict(tmp_path: Path) -> None:
    """Input and settings are the body; how the frame was written does not matter."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1", "one", settings={"deadline_s": 30})
        same = await client.start("r1", "one", settings={"deadline_s": 30.0})
        assert same["type"] == "ok"
        await client.recv()
        for text, settings in (("two", {"deadline_s": 30}), ("one", {"deadline_s": 31})):
            refused = await client.start("r1", text, settings=settings)
            assert (refused["type"], refused["code"]) == ("error", "conflict")


async def test_a_second_run_on_a_busy_thread_is_refused_and_others_go_on(tmp_path: Path) -> None:
    """One run at a time per thread; a thread beside it is answered meanwhile, on one socket."""
    script = Script(
        (Rule(((Act(text="a"), Act(gate="g")),), when="slow"), Rule(((Act(text="fast"),),)))
    )
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.start("r1", "slow")
        await client.until("text.delta")
        busy = await client.start("r2", "slow")
        assert (busy["code"], busy["retryable"]) == ("thread_busy", True)
        await client.start("r1", "quick", thread_id=OTHER)
        other = await client.end()
        assert {event["thread_id"] for event in other} == {OTHER}
        assert other[-1]["text"] == "fast"
        engine.open("g")
        assert (await client.end())[-1]["text"] == "a"
        assert (await client.run("r2", "quick"))[-1]["text"] == "fast"


async def test_the_model_is_sent_this_threads_history_and_no_other(tmp_path: Path) -> None:
    """Two threads, each told another name."""
    engine = ScriptedEngine(Script((say("noted: {question}"),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run("r1", "I am Ann")
        await client.run("r1", "I am Bob", thread_id=OTHER)
        await client.run("r2", "who am I?")
    texts = [item.text for item in engine.requests[-1].history if hasattr(item, "text")]
    assert texts == ["I am Ann", "noted: I am Ann", "who am I?"]


async def test_a_run_outlives_its_socket(tmp_path: Path) -> None:
    """Nobody listens, and the answer is there later."""
    script = Script((Rule(((Act(text="a"), Act(gate="g"), Act(text="b")),)),))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent:
        async with raw_client(agent.url) as client:
            await client.start()
            await engine.reached("g")
        engine.open("g")
        async with raw_client(agent.url) as client:
            await client.ask("attach", run_id="r1")
            snapshot = await client.recv()
            if snapshot["status"] == "running":
                assert (await client.end())[-1]["text"] == "ab"
            else:
                assert snapshot["texts"] == ["ab"]


@pytest.mark.parametrize(
    ("acts", "code", "retryable"),
    [
        ((Act(fail=("model_unavailable", "No.", True)),), "model_unavailable", True),
        ((Act(text="half"), Act(fail=("model_refused", "No.", False))), "model_refused", False),
        ((Act(text="half"), Act(break_off=True)), "model_failed", True),
        ((Act(crash="a bug"),), "internal", True),
        ((), "model_failed", True),
    ],
)
async def test_a_failure_is_one_clear_error_and_the_thread_goes_on(
    tmp_path: Path, acts: tuple[Act, ...], code: str, retryable: bool
) -> None:
    """A model that fails, breaks off, has a bug or says nothing ends the run in an error."""
    script = Script((Rule((acts,), when="bad"), say("fine")))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run("r1", "bad")
        assert events[-1]["type"] == "run.error"
        assert (events[-1]["code"], events[-1]["retryable"]) == (code, retryable)
        assert "a bug" not in events[-1]["message"]
        after = await client.run("r2", "good")
        assert after[-1]["text"] == "fine"
        assert after[0]["seq"] == events[-1]["seq"] + 1


async def test_an_internal_error_has_an_id_that_the_log_has_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence in the room and the line with the traceback can be brought together."""
    script = Script((Rule(((Act(crash="secret detail"),),)),))
    async with (
        running_agent(tmp_path, ScriptedEngine(script)) as agent,
        raw_client(agent.url) as client,
    ):
        message = (await client.run())[-1]["message"]
    number = message.partition("(error ")[2].partition(")")[0]
    captured = capsys.readouterr()
    logged = captured.out + captured.err
    assert len(number) == 4
    assert number in logged
    assert "secret detail" in logged


async def test_a_hanging_model_ends_by_the_deadline(tmp_path: Path) -> None:
    """The step is closed, the one error says so, and the thread goes on."""
    script = Script((Rule(((Act(text="a"), Act(hang=True)),), when="hi"), say("fine")))
    engine = ScriptedEngine(script)
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run(settings={"deadline_s": 0.2})
        assert (await client.run("r2", "next"))[-1]["text"] == "fine"
    assert (events[-1]["code"], events[-1]["retryable"]) == ("deadline", True)
    assert "0.2 seconds" in events[-1]["message"]
    assert (engine.running, engine.closed_early) == (0, 1)


async def test_a_model_that_never_stops_calling_tools_is_ended(tmp_path: Path) -> None:
    """After the most steps that a run may have comes `too_many_steps`."""
    script = Script((Rule(((Act(call=("c", "lookup", "{}")),),)),))
    engine = ScriptedEngine(script)
    async with (
        running_agent(tmp_path, engine, max_steps=3) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run()
    assert events[-1]["code"] == "too_many_steps"
    assert len(engine.requests) == 3


async def test_a_question_that_does_not_fit_is_refused_with_its_limit(tmp_path: Path) -> None:
    """The sentence says how long it may be; the model is not asked."""
    engine = ScriptedEngine(Script(context_tokens=4_000))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        events = await client.run("r1", "long " * 10_000)
    assert events[-1]["code"] == "question_too_long"
    assert "characters" in events[-1]["message"]
    assert engine.requests == []


async def test_input_above_the_protocols_limit_is_no_run(tmp_path: Path) -> None:
    """`input_too_large`, under the verb's id; the thread is not made."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        refused = await client.start("r1", "x" * (MAX_INPUT_CHARS + 1))
        assert refused["code"] == "input_too_large"
        assert (await client.ask("attach"))["code"] == "not_found"


async def test_an_unknown_model_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """`unknown_model`, and the thread stays free and unknown."""
    engine = ScriptedEngine(Script())
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        refused = await client.start(settings={"model": "nobody:x"})
        assert refused["code"] == "unknown_model"
        assert (await client.ask("attach"))["code"] == "not_found"
        events = await client.run(settings={"model": "scripted:other"})
    assert events[0]["model"] == "scripted:other"
    assert engine.requests[0].model == "other"


async def test_settings_of_the_run_reach_the_model(tmp_path: Path) -> None:
    """Prompt, tool grants and output tokens are the run's; the rest the agent's."""
    engine = ScriptedEngine(Script())
    settings: dict[str, Any] = {
        "system_prompt": "Be brief.",
        "tools": ["lookup", "not there"],
        "max_output_tokens": 77,
    }
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        await client.run(settings=settings)
    request = engine.requests[0]
    assert request.system_prompt == "Be brief."
    assert [tool.name for tool in request.tools] == ["lookup"]
    assert request.max_output_tokens == 77


async def test_twenty_threads_on_one_socket_each_get_their_own_words(tmp_path: Path) -> None:
    """No word of one thread comes under the name of another."""
    engine = ScriptedEngine(Script((Rule(((Act(words=20), Act(text="end {question}")),)),)))
    threads = [f"thread-{number:016d}" for number in range(20)]
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        for thread in threads:
            await client.send("run.start", thread, run_id="r", input=[{"text": f"canary {thread}"}])
        events: dict[str, list[Frame]] = {thread: [] for thread in threads}
        open_threads = set(threads)
        async with asyncio.timeout(20):
            while open_threads:
                frame = await client.recv()
                if frame["type"] in ("ok", "error"):
                    assert frame["type"] == "ok"
                    continue
                events[frame["thread_id"]].append(frame)
                if frame["type"] == "run.finished":
                    open_threads.remove(frame["thread_id"])
    for thread in threads:
        assert [event["seq"] for event in events[thread]] == list(range(1, len(events[thread]) + 1))
        assert text_of(events[thread]) == events[thread][-1]["text"]
        assert events[thread][-1]["text"].endswith(f"end canary {thread}")
