"""`antiphon chat` as people and scripts start it: a real process, on a terminal or on pipes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from antiphon.cli.app import invoke
from antiphon.testing.agent import FakeAgent
from antiphon.testing.terminal_process import TerminalProcess, chat, environment


def to(agent: FakeAgent) -> dict[str, str]:
    """The settings that name this agent."""
    return {"ANTIPHON_AGENT__URL": agent.url, "ANTIPHON_AGENT__TOKEN": agent.token}


async def test_without_an_address_it_starts_an_agent_of_its_own_that_remembers(
    tmp_path: Path,
) -> None:
    said = await chat(tmp_path, "--model", "offline", "--say", "What is 6 times 7?")
    assert said.code == 0, said.err
    assert "42" in said.out
    lines = "!export\n!sessions\n"
    again = await chat(tmp_path, stdin=lines, ANTIPHON_AGENT__MODEL="offline")
    assert again.code == 0, again.err
    assert "> What is 6 times 7?" in again.out
    assert "**current**" in again.out
    folder = tmp_path / "state" / "terminal"
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


async def test_a_person_talks_stops_and_leaves(tmp_path: Path) -> None:
    async with FakeAgent() as agent:
        agent.reply("Once ", "upon", asyncio.Event())
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("Ctrl-D leaves.")
            await person.sees("you> ")
            person.types("Tell me a story\n")
            await person.sees("antiphon> Once upon")
            person.types("\x03")
            await person.sees("*(stopped)*\nyou> ")
            person.types("\x03")
            await person.sees("Ctrl-C stops an answer; Ctrl-D leaves.\nyou> ")
            person.types("!whoami\n")
            await person.sees("an administrator of this bot.")
            await person.sees("Model: `fake`")
            person.types("Bye\n")
            await person.sees("antiphon> You said: Bye\nyou> ")
            person.types("\x04")
            assert await person.ends() == 0
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("you> ")
            assert "not answered to the end" not in person.shown


async def test_a_question_outlives_kill_9_and_is_answered_once(tmp_path: Path) -> None:
    async with FakeAgent() as agent:
        gate = asyncio.Event()
        agent.reply("One ", "two ", gate, "three")
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("you> ")
            person.types("Count\n")
            await person.sees("antiphon> One two")
            person.types("Wait\n")
            await asyncio.sleep(0.2)
            person.kill()
            await person.ends()
        gate.set()
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("Your last question was not answered to the end:\nyou> Count\n")
            await person.sees("antiphon> One two three\n")
            await person.sees("you> Wait\nantiphon> You said: Wait\nyou> ")
            person.types("\x04")
            assert await person.ends() == 0
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("you> ")
            assert "not answered to the end" not in person.shown
        assert [start.input[0].text for start in agent.starts] == ["Count", "Wait"]


async def test_what_acts_on_a_terminal_never_reaches_it(tmp_path: Path) -> None:
    async with FakeAgent() as agent:
        agent.reply("\x1b]0;owned\x07\x1b[2J", "clear\x9b31m \x1b[6n")
        async with TerminalProcess(tmp_path, **to(agent)) as person:
            await person.sees("you> ")
            person.types("Be evil\n")
            await person.sees("clear")
            person.types("\x04")
            assert await person.ends() == 0
            for evil in ("\x1b]0", "\x07", "\x1b[2J", "\x9b", "\x1b[6n"):
                assert evil not in person.shown


async def test_a_script_gets_one_object_and_a_code(tmp_path: Path) -> None:
    async with FakeAgent() as agent:
        said = await chat(tmp_path, "--json", "--say", "Hello", **to(agent))
        assert said.code == 0, said.err
        assert json.loads(said.out)["answer"] == "You said: Hello"
        assert said.err == ""
        agent.token = "another"
        said = await chat(tmp_path, "--say", "Hello", **to(agent) | {"ANTIPHON_AGENT__TOKEN": "x"})
        assert said.code == 2
        assert said.out == ""
        assert said.err.startswith("antiphon: ")


@pytest.mark.parametrize(
    ("args", "variables", "told"),
    [
        (("--say", "  "), {}, "nothing to say"),
        (("--json",), {}, "--json goes with --say"),
        (("--say", "x"), {"ANTIPHON_AGENT__URL": "http://x"}, "ANTIPHON_AGENT__TOKEN"),
        (("--say", "x"), {"ANTIPHON_CHAT__SHOW_TOOLS": "all"}, "show_tools"),
    ],
)
def test_wrong_usage_and_settings_are_one_sentence(
    tmp_path: Path,
    args: tuple[str, ...],
    variables: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for key, value in environment(tmp_path, variables).items():
        monkeypatch.setenv(key, value)
    assert invoke(["chat", *args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert said.err.count("\n") == 1, said.err


@pytest.mark.slow
async def test_an_agent_that_is_away_is_said_and_nothing_is_kept(tmp_path: Path) -> None:
    async with FakeAgent() as agent:
        gone = to(agent)
    said = await chat(tmp_path, "--say", "Hello", **gone)
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("antiphon: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "state" / "terminal" / "chat.json").exists()
    said = await chat(tmp_path, "--say", "!status", **gone)
    assert said.code == 0
    assert "Agent: NOT OK" in said.out


async def test_a_second_terminal_on_the_same_state_is_refused(tmp_path: Path) -> None:
    async with FakeAgent() as agent, TerminalProcess(tmp_path, **to(agent)) as person:
        await person.sees("you> ")
        said = await chat(tmp_path, "--say", "Hello", **to(agent))
        assert said.code == 2
        assert "already runs" in said.err
