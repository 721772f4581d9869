"""What commands do that only this surface can: ask again in place, forget a person, say how it
stands. What all surfaces share is tested with `sdk.commander`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch

import pytest

from antiphon import crash
from antiphon.clock import SystemClock
from antiphon.core.ids import UserId
from antiphon.core.people import Forgotten
from antiphon.sdk.interface import Outcome
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.platform import FakePlatform
from antiphon.testing.remote_worlds import KEPT, kept_by
from antiphon.testing.world import World, until


@pytest.fixture(params=KEPT)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(request.param, made.platform, tmp_path):
            yield made


def questions(world: World) -> list[str]:
    return [run.question[0].text for run in world.platform.runs]


def journal_text(world: World) -> str:
    """All that the journal holds, as text."""
    with contextlib.closing(sqlite3.connect(world.state / "matrix.db")) as database:
        return "\n".join(database.iterdump())


# --- !retry ---------------------------------------------------------------------------------------


async def test_retry_asks_again_in_the_same_message(world: World) -> None:
    world.platform.reply("no", Outcome("error", "model_failed", "The model broke off."))
    world.platform.reply("yes")
    async with world.adapter.running():
        world.ask("well?")
        await world.answered(1)
        world.ask("!retry")
        await until(lambda: world.shown()[:1] == ["yes"])
        await until(lambda: len(world.shown()) == 2)
        await until(lambda: bool(world.platform.withdrawn))
    assert world.shown() == [
        "yes",
        "Your last question here is asked again; the answer to it changes in its place.",
    ]
    first, second = world.platform.runs
    assert first.question == second.question
    assert first.thread_id == second.thread_id
    assert world.platform.withdrawn == [(first.thread_id, first.run_id)]
    assert second.run_id == first.run_id.replace(".1", ".2")


async def test_retry_asks_what_was_stopped_before_a_word(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("one")
        await world.server.until(lambda: world.shown() == ["slow"])
        world.ask("two")
        world.ask("!stop")
        await world.answered(2)
        world.ask("!retry")
        await until(lambda: "You said: two" in world.shown())
    assert questions(world) == ["one", "two"]


@pytest.mark.parametrize("before", ["nothing", "only others", "taken down"])
async def test_retry_with_nothing_to_ask_says_so(world: World, before: str) -> None:
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    count = 0
    async with world.adapter.running():
        if before != "nothing":
            world.server.say(world.room, bob if before == "only others" else world.ada, "q")
            await world.answered(1)
            count = 1
        if before == "taken down":
            world.server.redact(world.room, bob, world.roots()[0]["event_id"])
        world.ask("!retry")
        await until(lambda: bool(world.shown()) and "no question" in world.shown()[-1])
    assert len(world.platform.runs) == count


async def test_a_crash_in_the_middle_of_retry_asks_once(world: World) -> None:
    """The new revision and the reply to the command are one transaction."""
    async with world.adapter.running():
        world.ask("well?")
        await world.answered(1)

    class Once:
        def __init__(self) -> None:
            self.task: asyncio.Task[object] | None = None

        def visit(self, name: str) -> None:
            if name == "command.done" and self.task is not None:
                self.task.cancel()

    plan = Once()
    with patch.object(crash, "_PLAN", plan), contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            plan.task = task
            world.ask("!retry")
            await asyncio.wait([task], timeout=5)
    async with world.adapter.running():
        await until(lambda: len(world.shown()) == 2 and len(world.platform.runs) == 2)
        await asyncio.sleep(0.3)
    assert len(world.platform.runs) == 2


# --- !forget-me -----------------------------------------------------------------------------------


async def test_forget_me_takes_a_person_out_of_the_journal_and_owes_the_rest(world: World) -> None:
    """Theirs in every room, others' not; the agent is told however long it is away."""
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    other = world.server.room(world.ada, world.bot)
    async with world.adapter.running():
        world.ask("my secret of ada")
        world.server.say(world.room, bob, "what bob said")
        await world.answered(2)
        world.ask("elsewhere a secret too", other)
        await world.answered(1, other)
        assert "my secret of ada" in journal_text(world)
        world.ask("!forget-me")
        await world.answered(3)
        assert "my secret of ada" in journal_text(world), "it only asked"
        world.platform.unreachable = True
        world.ask("!forget-me yes")
        await world.answered(4)
    assert world.shown()[3].startswith("You are forgotten")
    text = journal_text(world)
    assert "secret" not in text
    assert "what bob said" in text
    assert not world.platform.erased
    world.platform.unreachable = False
    async with world.adapter.running():
        await until(lambda: len(world.platform.erased) == 2)
    assert {user for _, user in world.platform.erased} == {world.ada}
    with contextlib.closing(sqlite3.connect(world.state / "matrix.db")) as database:
        senders = database.execute("SELECT count(*) FROM turn WHERE sender = ?", (world.ada,))
        assert senders.fetchone() == (0,)


async def test_forget_me_withdraws_what_is_still_open_elsewhere(world: World) -> None:
    other = world.server.room(world.ada, world.bot)
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("open", other)
        await world.server.until(lambda: world.shown(other) == ["slow"])
        world.ask("!forget-me yes")
        await world.answered(1)
        await until(lambda: bool(world.platform.withdrawn))
        await until(lambda: world.shown(other) == [])
    assert "open" not in journal_text(world).partition("INSERT INTO turn")[2].split("CREATE")[0]


async def test_a_person_who_takes_the_command_back_at_once_is_forgotten_all_the_same(
    world: World,
) -> None:
    """What was begun is finished: the debt was there before anybody erased anything."""
    forget, begun, go = world.platform.forget_user, asyncio.Event(), asyncio.Event()

    async def slowly(user_id: UserId, request_id: str) -> Forgotten:
        begun.set()
        await go.wait()
        return await forget(user_id, request_id)

    world.platform.forget_user = slowly  # type: ignore[method-assign]
    async with world.adapter.running():
        world.ask("a secret")
        await world.answered(1)
        command = world.ask("!forget-me yes")
        await begun.wait()
        world.server.redact(world.room, world.ada, command)
        await asyncio.sleep(0.3)
        go.set()
        await until(lambda: bool(world.platform.erased), 20)
        await until(lambda: "a secret" not in journal_text(world))


async def test_who_was_erased_elsewhere_is_erased_here(world: World) -> None:
    world.platform = FakePlatform(clock=SystemClock())
    world.adapter = world.life()
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        world.ask("my secret")
        world.server.say(world.room, bob, "what bob said")
        await world.answered(2)
        await world.platform.forget_user(UserId(world.ada), "by an administrator")
        await until(lambda: "my secret" not in journal_text(world))
        world.ask("again")
        await world.answered(3)
    assert "what bob said" in journal_text(world)
    assert "again" in journal_text(world)


# --- the rest -------------------------------------------------------------------------------------


async def test_status_has_the_facts_of_this_adapter(world: World) -> None:
    world.adapter = world.life(admins=(world.ada,))
    world.server.event(world.room, "m.room.name", world.ada, {"name": "x"}, state_key="")
    async with world.adapter.running():
        world.ask("!status")
        await world.answered(1)
    (shown,) = world.shown()
    assert "Homeserver: last heard of " in shown
    assert "Rooms: 1, 0 of them encrypted, which I can't read." in shown
    assert "Turns: 0 waiting, 0 with the agent; 0 sends and 0 debts not confirmed." in shown


async def test_export_comes_as_text_in_parts(world: World) -> None:
    said = {"input": [{"text": "one", "author": world.ada}], "steps": [{"text": "z" * 15_000}]}
    archive = json.dumps({"runs": [{"run_id": "r", "status": "success", "created_ms": 1, **said}]})

    async def export(_: object) -> bytes:
        return archive.encode()

    world.platform.export_thread = export  # type: ignore[method-assign, assignment]
    async with world.adapter.running():
        world.ask("!export")
        await until(lambda: sum(text.count("z") for text in world.shown()) >= 15_000)
    assert "What I remember of conversation" in world.shown()[0]
    assert len(world.shown()) > 1


async def test_a_command_that_the_agent_is_needed_for_ends_with_a_word(world: World) -> None:
    async with world.adapter.running():
        world.ask("hi")
        await world.answered(1)
        world.platform.unreachable = True
        world.ask("!export")
        await world.answered(2)
    assert "does not answer" in world.shown()[1]
