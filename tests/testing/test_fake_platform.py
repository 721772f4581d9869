"""The fake platform does what tests of surfaces rely on beyond the contract suite."""

import asyncio

import pytest

from antiphon.core.ids import RunId, ThreadId, UserId
from antiphon.core.model import Said
from antiphon.errors import AgentUnreachableError
from antiphon.sdk.interface import Outcome, Progress, Run, ToolUse
from antiphon.testing.agent import FakePlatform
from antiphon.testing.script import Rewind

THREAD = ThreadId("fake-thread-000001")


def question(run_id: str = "t1.0", text: str = "hello there") -> Run:
    return Run(RunId(run_id), THREAD, (Said(UserId("@a:x"), text),))


async def all_of(platform: FakePlatform, run: Run) -> list[Progress]:
    return [progress async for progress in platform.answer(run)]


async def test_every_piece_of_a_script_is_shown_and_the_default_echoes() -> None:
    """A reader that keeps up sees each step; without a script the answer repeats the question."""
    seen = await all_of(FakePlatform(), question())
    assert [progress.text for progress in seen] == [
        "",
        "You said:",
        "You said: hello",
        "You said: hello there",
        "You said: hello there",
    ]
    assert [progress.outcome for progress in seen] == [None] * 4 + [Outcome("success")]


async def test_a_gate_holds_the_run_and_a_second_reader_continues_it() -> None:
    """A run waits at its gate; closing the reader leaves it, and another reader finishes it."""
    platform, gate = FakePlatform(), asyncio.Event()
    platform.reply("one", gate, " two")
    async for progress in platform.answer(question()):
        if progress.text == "one":
            break
    gate.set()
    seen = await all_of(platform, question())
    assert seen[0].text == "one"
    assert seen[-1] == Progress("one two", model="fake", outcome=Outcome("success"))
    assert len(platform.runs) == 1
    assert platform.asks == ["t1.0", "t1.0"]


async def test_tools_and_rewind_change_what_is_shown() -> None:
    """A tool call begins and ends in place, text after it is a new step, and a rewind voids."""
    platform = FakePlatform()
    platform.reply(
        "look",
        ToolUse("clock", "{}"),
        ToolUse("clock", "{}", "noon", "ok"),
        "it is",
        Rewind(1),
        "12",
    )
    seen = await all_of(platform, question())
    assert [progress.text for progress in seen][-4:] == [
        "look\n\nit is",
        "look",
        "look\n\n12",
        "look\n\n12",
    ]
    assert seen[-1].tools == (ToolUse("clock", "{}", "noon", "ok"),)


async def test_an_error_step_is_raised_once() -> None:
    """A passing error reaches the reader; asking again goes on behind it."""
    platform = FakePlatform()
    platform.reply("a", AgentUnreachableError("gone"), "b")
    with pytest.raises(AgentUnreachableError):
        await all_of(platform, question())
    assert (await all_of(platform, question()))[-1].text == "ab"
