"""The chat itself, and one question for scripts: what is shown, in which order, with which code."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon.adapter.terminal.lines import Lines
from antiphon.adapter.terminal.once import Once
from antiphon.adapter.terminal.showing import Showing
from antiphon.adapter.terminal.talk import Talk
from antiphon.core.scopes import Scope
from antiphon.errors import RunError
from antiphon.sdk.interface import Outcome, ToolUse, Usage
from antiphon.testing.terminal_world import ME, TerminalWorld


@asynccontextmanager
async def typing(*lines: str, gather: bool = False) -> AsyncIterator[tuple[Lines, int]]:
    """Lines with these in them, and where more can be written; closed at the end."""
    out, into = os.pipe()
    os.write(into, "".join(f"{line}\n" for line in lines).encode())
    try:
        async with Lines(out, gather=gather) as reading:
            yield reading, into
    finally:
        os.close(out)


async def piped(world: TerminalWorld, *lines: str) -> int:
    async with typing(*lines) as (reading, into):
        os.close(into)
        return await Talk(world.desk, world.screen, interactive=False).talk(reading)


async def until(world: TerminalWorld, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in world.out.getvalue():
            await asyncio.sleep(0.005)


async def test_piped_lines_are_answered_in_order_and_nothing_else_is_written(
    tmp_path: Path,
) -> None:
    world = TerminalWorld(tmp_path)
    assert await piped(world, "One", "", "  ", "!new", "Two", "!nwe") == 0
    assert world.out.getvalue() == (
        "You said: One\n"
        "A new conversation begins. I no longer remember what was said before.\n"
        "You said: Two\n"
        "There is no command `!nwe`. Did you mean `!new`?\n"
    )
    assert [run.question[0].text for run in world.platform.runs] == ["One", "Two"]
    assert world.journal.kept.waiting == ()


async def test_an_error_is_said_and_is_the_exit_code_of_a_script(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    world.platform.reply("Half", RunError("The model is away."))
    assert await piped(world, "One", "Two") == 1
    assert "Half\n\nThe model is away. (error " in world.out.getvalue()
    assert "You said: Two" in world.out.getvalue()


async def test_a_person_sees_who_speaks_and_stops_an_answer(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path, terminal=True)
    talk = Talk(world.desk, world.screen, interactive=True)
    world.platform.reply("Once ", "upon", asyncio.Event(), " a time")
    world.platform.reply("Again", asyncio.Event())
    async with typing() as (lines, into), asyncio.TaskGroup() as group:
        talking = group.create_task(talk.talk(lines))
        await until(world, "you> ")
        talk.interrupt()
        assert "Ctrl-D leaves" in world.out.getvalue()
        os.write(into, b"Tell\n")
        await until(world, "antiphon> Once upon")
        talk.interrupt()
        await until(world, "*(stopped)*")
        os.write(into, b"Tell more\n")
        await until(world, "antiphon> Again")
        os.write(into, b"!stop\n")
        await until(world, "Again\n\n*(stopped)*")
        os.close(into)
        assert await talking == 0


async def test_what_is_typed_while_an_answer_comes_waits_its_turn_through_a_kill(
    tmp_path: Path,
) -> None:
    gate = asyncio.Event()
    world = TerminalWorld(tmp_path, terminal=True)
    world.platform.reply("One", gate, " two")
    async with typing("First") as (lines, into), asyncio.TaskGroup() as group:
        talk = Talk(world.desk, world.screen, interactive=True)
        talking = group.create_task(talk.talk(lines))
        await until(world, "antiphon> One")
        os.write(into, b"Second\n!whoami\n")
        async with asyncio.timeout(10):
            while len(world.journal.kept.waiting) < 2:
                await asyncio.sleep(0.005)
        talking.cancel()
        os.close(into)
    gate.set()
    again = TerminalWorld(tmp_path, world.platform, terminal=True)
    assert list(again.journal.kept.waiting) == ["Second", "!whoami"]
    talk = Talk(again.desk, again.screen, interactive=True)
    await talk.finish_open()
    async with typing() as (lines, into):
        os.close(into)
        await talk.talk(lines)
    shown = again.out.getvalue()
    order = [
        "Your last question was not answered to the end:",
        "you> First",
        "antiphon> One two",
        "you> Second",
        "antiphon> You said: Second",
        "you> !whoami",
        "antiphon> You are",
    ]
    places = [shown.index(text) for text in order]
    assert places == sorted(places)
    assert [run.question[0].text for run in world.platform.runs] == ["First", "Second"]
    assert list(again.journal.kept.waiting) == []
    third = TerminalWorld(tmp_path, world.platform, terminal=True)
    await Talk(third.desk, third.screen, interactive=True).finish_open()
    assert third.out.getvalue() == "", "it was shown once"


async def test_an_agent_that_can_not_be_told_to_stop_is_not_waited_for(tmp_path: Path) -> None:
    for twice in (False, True):
        folder = tmp_path / str(twice)
        folder.mkdir()
        world = TerminalWorld(folder, terminal=True)
        talk = Talk(world.desk, world.screen, interactive=True)
        world.platform.reply("Once ", asyncio.Event())
        async with typing("Tell") as (lines, into), asyncio.TaskGroup() as group:
            talking = group.create_task(talk.talk(lines))
            await until(world, "antiphon> Once")
            world.platform.unreachable = not twice
            talk.interrupt()
            if twice:
                talk.interrupt()
            await until(world, "*(stopped)*\nyou> ")
            assert world.journal.kept.run is None
            assert [owed.kind for owed in world.journal.kept.owed] == ["cancel"]
            os.close(into)
            assert await talking == 0


async def test_quit_leaves_what_waits_behind(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    assert await piped(world, "One", "/quit", "Two") == 0
    assert len(world.platform.runs) == 1
    assert world.journal.kept.waiting == ()


async def test_the_last_exchanges_are_shown(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path, terminal=True)
    talk = Talk(world.desk, world.screen, interactive=True)
    await talk.show_history()
    assert world.out.getvalue() == ""
    for n in range(5):
        await Showing(world.desk, TerminalWorld(tmp_path / str(n)).screen).wait(
            await world.desk.ask(f"Q{n} " + "x" * 2_000)
        )
    await talk.show_history()
    shown = world.out.getvalue()
    assert "(2 earlier questions)" in shown
    assert "you> Q1" not in shown
    assert "you> Q4" in shown
    assert len(shown) < 7_000


async def test_settings_decide_what_is_shown(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    tools = (ToolUse("clock", "{}"), ToolUse("clock", "{}", "noon", "ok"))
    scope = Scope("user", "terminal", ME)
    for n, (show, seen) in enumerate(
        (("none", ""), ("names", "*used `clock`"), ("results", "noon"))
    ):
        await world.platform.set_setting(scope, "show_tools", show, by=ME, request_id=f"s{n}")
        world.platform.reply(*tools, "It is noon-ish.".replace("noon", "midday"))
        world.out.truncate(0)
        await piped(world, "When?")
        assert "midday-ish." in world.out.getvalue()
        assert seen in world.out.getvalue()
        assert ("clock" in world.out.getvalue()) is bool(seen)


async def test_without_streaming_an_answer_comes_whole(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    scope = Scope("user", "terminal", ME)
    await world.platform.set_setting(scope, "streaming", False, by=ME, request_id="s")
    gate = asyncio.Event()
    world.platform.reply("One", gate, " two")
    async with asyncio.TaskGroup() as group:
        talking = group.create_task(piped(world, "Count"))
        while not world.platform.runs:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert world.out.getvalue() == ""
        gate.set()
        await talking
    assert world.out.getvalue() == "One two\n"


# --- --say ----------------------------------------------------------------------------------------


async def test_one_question_gives_its_answer_alone(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    once = Once(world.desk, world.screen, as_json=False)
    assert await once.say("Hello") == 0
    assert world.out.getvalue() == "You said: Hello\n"
    assert world.err.getvalue() == ""
    world.platform.reply(Outcome("error", "model_failed", "The model is away."))
    assert await once.say("And?") == 1
    assert await once.say("!whoami") == 0


async def test_as_json_it_tells_what_a_program_wants_to_know(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    once = Once(world.desk, world.screen, as_json=True)
    world.platform.reply(
        ToolUse("clock", "{}"),
        ToolUse("clock", "{}", "noon", "ok"),
        "\x1b[31mNoon",
        Outcome("success", usage=Usage(10, 5, 1.5)),
    )
    world.platform.reply("Ha", Outcome("error", "model_failed", "The model is away."))
    assert await once.say("When?") == 0
    assert await once.say("Why?") == 1
    assert await once.say("!new") == 0
    first, second, third = map(json.loads, world.out.getvalue().splitlines())
    assert first["answer"] == "\x1b[31mNoon"
    assert "\x1b" not in world.out.getvalue()
    assert first["outcome"] == "success"
    assert first["tools"] == [{"name": "clock", "args": "{}", "result": "noon", "outcome": "ok"}]
    assert first["usage"]["input_tokens"] == 10
    assert second["error"] == {"code": "model_failed", "message": "The model is away."}
    assert third["reply"].startswith("A new conversation")


async def test_a_script_that_was_killed_and_asks_the_same_again_gets_the_one_answer(
    tmp_path: Path,
) -> None:
    world = TerminalWorld(tmp_path)
    run = await world.desk.ask("Hello")
    again = TerminalWorld(tmp_path, world.platform)
    assert await Once(again.desk, again.screen, as_json=False).say("Hello") == 0
    assert again.out.getvalue() == "You said: Hello\n"
    assert [known.run_id for known in world.platform.runs] == [run.run_id]


async def test_what_another_process_left_open_is_told_beside(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    await world.desk.ask("Earlier")
    again = TerminalWorld(tmp_path, world.platform)
    assert await Once(again.desk, again.screen, as_json=False).say("Hello") == 0
    assert again.out.getvalue() == "You said: Hello\n"
    assert "You said: Earlier" in again.err.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
async def test_one_question_is_stopped(tmp_path: Path, as_json: bool) -> None:
    world = TerminalWorld(tmp_path)
    world.platform.reply("Once", asyncio.Event())
    once = Once(world.desk, world.screen, as_json=as_json)
    async with asyncio.TaskGroup() as group:
        saying = group.create_task(once.say("Tell"))
        while not world.platform.runs:
            await asyncio.sleep(0.005)
        await once.interrupt()
        assert await saying == 0
    assert ("cancelled" if as_json else "*(stopped)*") in world.out.getvalue()
