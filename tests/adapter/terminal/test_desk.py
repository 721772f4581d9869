"""Questions and commands are kept before anything is done, and let go when their end was shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antiphon.adapter.terminal.desk import PLACE, Desk, NotAskedError
from antiphon.adapter.terminal.journal import OpenCommand
from antiphon.core.ids import UserId
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.errors import AgentRefusedError, AgentUnreachableError, RunError
from antiphon.sdk.commander import Reply
from antiphon.sdk.interface import Outcome, Progress, Run, Usage
from antiphon.testing.terminal_world import ME, TerminalWorld

ROOT = UserId("@root:x")


async def outcome(desk: Desk, run: Run) -> Progress:
    """The last of a run's progress."""
    last = Progress("")
    async for now in desk.follow(run):
        last = now
    return last


def text_of(reply: Reply | Run) -> str:
    assert isinstance(reply, Reply)
    return reply.text


async def test_a_question_is_kept_until_its_answer_was_shown(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    run = await world.desk.ask("Hello")
    kept = world.journal.kept.run
    assert kept is not None
    assert kept.run == run
    assert world.platform.runs == [], "nothing was asked before it was kept"
    last = await outcome(world.desk, run)
    assert last.text == "You said: Hello"
    assert world.journal.kept.run is None


async def test_a_question_that_was_cut_short_is_found_again_and_asked_once(tmp_path: Path) -> None:
    first = TerminalWorld(tmp_path)
    gate = asyncio.Event()
    first.platform.reply("One ", gate, "two.")
    run = await first.desk.ask("Count")
    async for progress in first.desk.follow(run):
        if progress.text:
            break  # the process dies here
    second = TerminalWorld(tmp_path, first.platform)
    gate.set()
    kept = second.journal.kept.run
    assert kept is not None
    assert kept.run == run
    assert (await outcome(second.desk, kept.run)).text == "One two."
    assert len(first.platform.runs) == 1
    assert second.journal.kept.run is None


async def test_what_a_run_used_is_counted_once_when_it_was_typed(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    world.platform.reply("Yes.", Outcome("success", usage=Usage(10, 5, 1.5)))
    run = await world.desk.ask("Hello")
    await outcome(world.desk, run)
    await outcome(world.desk, run)
    used = await world.platform.usage(since_ms=0, user_id=ME)
    assert (used.turns, used.tokens) == (1, 15)


async def test_an_agent_that_is_away_gives_an_error_and_is_owed_the_cancel(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    run = await world.desk.ask("Hello")
    world.platform.unreachable = True
    last = await outcome(world.desk, run)
    assert last.outcome is not None
    assert last.outcome.kind == "error"
    assert [owed.kind for owed in world.journal.kept.owed] == ["cancel"]
    await world.desk.pay()
    assert [owed.kind for owed in world.journal.kept.owed] == ["cancel"]
    world.platform.unreachable = False
    await TerminalWorld(tmp_path, world.platform).desk.pay()
    assert world.platform.cancelled == [(run.thread_id, run.run_id)]


async def test_a_refused_token_is_no_answer(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    run = await world.desk.ask("Hello")
    world.platform.refused = True
    with pytest.raises(AgentRefusedError):
        await outcome(world.desk, run)
    assert world.journal.kept.run is not None


async def test_an_answer_is_stopped(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    world.platform.reply("One ", asyncio.Event(), "two.")
    run = await world.desk.ask("Count")
    told = []
    async for progress in world.desk.follow(run):
        told.append(progress)
        if progress.outcome is None and progress.text:
            assert await world.desk.stop(run)
    assert told[-1].outcome == Outcome("cancelled")
    world.platform.unreachable = True
    assert not await world.desk.stop(run)


async def test_a_model_of_the_command_line_is_asked_for(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path, model="local")
    assert (await world.desk.ask("Hello")).settings.model == "local"


async def test_who_is_blocked_or_over_a_limit_is_not_answered(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    platform, scope = world.platform, Scope("user", "terminal", ME)
    await platform.set_setting(scope, "turns_per_minute", 1, by=ROOT, request_id="1")
    await outcome(world.desk, await world.desk.ask("Hello"))
    with pytest.raises(NotAskedError, match="1 question in a minute"):
        await world.desk.ask("And?")
    await world.clock.advance(60)
    world.platform.reply("Yes.", Outcome("success", usage=Usage(10, 5, 1.5)))
    await outcome(world.desk, await world.desk.ask("And?"))
    await world.clock.advance(60)
    await platform.set_setting(scope, "tokens_per_day", 15, by=ROOT, request_id="2")
    with pytest.raises(NotAskedError, match="used up"):
        await world.desk.ask("And?")
    await platform.set_role(ME, Role.BLOCKED, by=ROOT, request_id="3")
    with pytest.raises(NotAskedError, match="blocked"):
        await world.desk.ask("And?")
    assert "administrator" in text_of(await world.desk.command("!status"))
    assert world.journal.kept.run is None


# --- commands -------------------------------------------------------------------------------------


async def test_commands_are_carried_out_and_let_go(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    assert "A new conversation begins" in text_of(await world.desk.command("!new"))
    assert "- 2: begun" in text_of(await world.desk.command("!sessions"))
    assert "you alone, in this terminal" in text_of(await world.desk.command("!whoami"))
    assert "There is no command" in text_of(await world.desk.command("!allow @a:b"))
    assert "Nothing is running" in text_of(await world.desk.command("!stop"))
    assert "means nothing here" in text_of(await world.desk.command("!settings isolation user"))
    assert world.journal.kept.command is None


async def test_a_command_that_was_cut_short_is_carried_out_once(tmp_path: Path) -> None:
    first = TerminalWorld(tmp_path)
    kept = OpenCommand("c1", "!new")
    first.journal.change(command=kept)
    await first.desk.carry(kept)
    first.journal.change(command=kept)  # as if killed before it was let go
    second = TerminalWorld(tmp_path, first.platform)
    assert second.journal.kept.command == kept
    await second.desk.carry(kept)
    chat = await first.platform.chat(PLACE)
    assert chat.session.number == 2


async def test_the_last_question_is_asked_again(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    assert "no question" in text_of(await world.desk.command("!retry"))
    for text in ("First", "Second"):
        await outcome(world.desk, await world.desk.ask(text))
    run = await world.desk.command("!retry")
    assert isinstance(run, Run)
    assert run.question[0].text == "Second"
    assert run.run_id not in [known.run_id for known in world.platform.runs]
    assert world.journal.kept.command is None
    assert world.journal.kept.run is not None


async def test_a_command_that_can_not_be_carried_out_is_said_and_let_go(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    world.platform.refused = True
    assert "does not tell now" in text_of(await world.desk.command("!whoami"))
    assert world.journal.kept.command is None


async def test_who_is_forgotten_is_erased_at_the_agent_too_sooner_or_later(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    run = await world.desk.ask("My secret")
    await outcome(world.desk, run)
    world.platform.unreachable = True
    assert "You are forgotten" in text_of(await world.desk.command("!forget-me yes"))
    assert [owed.kind for owed in world.journal.kept.owed] == ["erase"]
    world.platform.unreachable = False
    await TerminalWorld(tmp_path, world.platform).desk.pay()
    assert world.platform.erased == [(run.thread_id, ME)]
    assert await TerminalWorld(tmp_path, world.platform).desk.history() == ()


async def test_history_is_of_this_conversation_without_what_is_open(tmp_path: Path) -> None:
    world = TerminalWorld(tmp_path)
    await outcome(world.desk, await world.desk.ask("Hello"))
    (one,) = await world.desk.history()
    assert (one.question[0].text, one.answer) == ("Hello", "You said: Hello")
    run = await world.desk.ask("Open")
    async for progress in world.desk.follow(run):
        if progress.outcome is not None:
            break  # shown, and not let go yet
    assert len(await world.desk.history()) == 1
    world.platform.unreachable = True
    assert await world.desk.history() == ()


async def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    for error in (RunError("The model is away."), AgentUnreachableError("No sign.")):
        world = TerminalWorld(tmp_path)
        world.platform.reply("Half", error)
        last = await outcome(world.desk, await world.desk.ask("Hello"))
        assert last.outcome is not None
        assert (last.outcome.kind, last.outcome.message) == ("error", error.message)
