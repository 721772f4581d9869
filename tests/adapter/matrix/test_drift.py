"""What people do while an answer is on its way, or after it: edits, redactions, upgrades; and what
the room itself says of what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.journal.taking import Taker
from antiphon.adapter.matrix.transport.events import Event
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World, until


@pytest.fixture
async def world(kept: str, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path / "state")
        made.state.mkdir()
        made.room = server.room(made.ada, made.bot)
        async with kept_by(kept, made.platform, tmp_path):
            yield made


def readable(world: World) -> list[dict[str, Any]]:
    """The bot's events that still have a content."""
    return [e for e in world.server.messages(world.room, world.bot) if e["content"]]


# --- edits of the question ---------------------------------------------------------------------


async def test_a_question_edited_while_it_waits_is_asked_as_it_is_now(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("first", gate)
    async with world.adapter.running():
        world.ask("one")
        await world.server.until(lambda: world.shown() == ["first"])
        waiting = world.ask("tow")
        world.server.edit(world.room, world.ada, waiting, "two")
        world.ask("three")
        gate.set()
        await world.answered(3)
    assert world.shown() == ["first", "You said: two", "You said: three"]


async def test_a_question_edited_while_answered_ends_in_one_answer_to_the_newest(
    world: World,
) -> None:
    gate = asyncio.Event()
    world.platform.reply("about cats", gate)
    async with world.adapter.running():
        question = world.ask("cats?")
        await world.server.until(lambda: world.shown() == ["about cats"])
        world.server.edit(world.room, world.ada, question, "dogs?")
        await world.server.until(lambda: world.shown() == ["You said: dogs?"])
        await until(lambda: bool(world.platform.withdrawn))
    old, new = world.platform.runs
    assert world.platform.withdrawn == [(old.thread_id, old.run_id)]
    assert (new.run_id, new.question[0].text) == (old.run_id[:-1] + "2", "dogs?")
    assert len(world.roots()) == 1


async def test_an_answered_question_that_is_edited_is_answered_anew_in_place(world: World) -> None:
    async with world.adapter.running():
        question = world.ask("cats?")
        await world.answered(1)
        world.ask("other")
        await world.answered(2)
        world.server.edit(world.room, world.ada, question, "dogs?")
        await world.answered(3)
    assert world.shown() == ["You said: dogs?", "You said: other"]
    assert len(world.roots()) == 2


async def test_by_setting_an_answered_question_stays_answered(world: World) -> None:
    async with world.life(answer_edits=False).running():
        question = world.ask("cats?")
        await world.answered(1)
        world.server.edit(world.room, world.ada, question, "dogs?")
        world.ask("other")
        await world.answered(2)
    assert world.shown() == ["You said: cats?", "You said: other"]


async def test_only_its_author_edits_a_question_and_no_edit_makes_a_command(world: World) -> None:
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        question = world.ask("cats?")
        await world.answered(1)
        world.server.edit(world.room, bob, question, "dogs?")
        world.server.edit(world.room, world.ada, question, "!new")
        world.ask("other")
        await world.answered(2)
    assert world.shown() == ["You said: cats?", "You said: other"]
    assert len({run.thread_id for run in world.platform.runs}) == 1


async def test_an_edit_between_answer_and_delivery_wins(world: World) -> None:
    hold = asyncio.Event()
    async with world.adapter.running():
        world.server.fail("send", faults.held(hold))
        question = world.ask("cats?")
        await world.server.until(lambda: bool(world.server.asked("send")))
        world.server.edit(world.room, world.ada, question, "dogs?")
        hold.set()
        await world.server.until(lambda: world.shown() == ["You said: dogs?"])
    assert len(world.roots()) == 1


# --- redactions ----------------------------------------------------------------------------------


async def test_a_question_taken_back_takes_its_answer_and_its_memory_with_it(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate)
    async with world.adapter.running():
        question = world.ask("secret?")
        await world.server.until(lambda: world.shown() == ["half"])
        world.server.redact(world.room, world.ada, question)
        await world.server.until(lambda: not readable(world))
        await until(lambda: bool(world.platform.withdrawn))
        world.ask("next")
        await world.answered(1)
    assert world.shown() == ["You said: next"]


async def test_an_answered_question_taken_back_leaves_no_edit_readable(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("one", gate, " two")
    async with world.adapter.running():
        question = world.ask("secret?")
        await world.server.until(lambda: world.shown() == ["one"])
        gate.set()
        await world.answered(1)
        world.server.redact(world.room, world.ada, question)
        await world.server.until(lambda: not readable(world))
        await until(lambda: bool(world.platform.withdrawn))


async def test_a_question_taken_back_before_its_turn_is_never_asked(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("first", gate)
    async with world.adapter.running():
        world.ask("one")
        await world.server.until(lambda: world.shown() == ["first"])
        second = world.ask("two")
        world.server.redact(world.room, world.ada, second)
        world.ask("three")
        gate.set()
        await world.answered(2)
    assert [run.question[0].text for run in world.platform.runs] == ["one", "three"]


async def test_an_answer_redacted_by_somebody_else_is_cancelled_and_nothing_more_sent(
    world: World,
) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate, " whole")
    async with world.adapter.running():
        world.ask("hi")
        await world.server.until(lambda: world.shown() == ["half"])
        world.server.redact(world.room, world.ada, world.roots()[0]["event_id"])
        await until(lambda: bool(world.platform.cancelled))
        gate.set()
        world.ask("next")
        await world.answered(1)
    assert world.shown() == ["You said: next"]


# --- what the room says of our sends -------------------------------------------------------------


async def test_a_partial_edit_that_lands_after_the_final_is_redacted(world: World) -> None:
    """A timed-out partial that the server carries out late outranks the final."""
    late, gate = asyncio.Event(), asyncio.Event()
    world.platform.reply("a", gate, " b")
    async with world.adapter.running():
        world.ask("hi")
        await world.answered(0)
        await world.server.until(lambda: world.shown() == ["a"])
        gate.set()
        await world.answered(1)
        root = world.roots()[0]
        mark = dict(root["content"]["m.relates_to"]["io.antiphon.answer"], state="partial")
        world.server.say(
            world.room,
            world.bot,
            "* …",
            **{
                "m.new_content": {"msgtype": "m.text", "body": "a stale part"},
                "m.relates_to": {
                    "rel_type": "m.replace",
                    "event_id": root["event_id"],
                    "io.antiphon.answer": mark,
                },
            },
        )
        late.set()
        await world.server.until(lambda: bool(world.server.asked("redact")))
        await world.server.until(lambda: world.shown() == ["a b"])


async def test_with_the_cursor_deleted_nothing_is_replayed_and_nothing_lost(world: World) -> None:
    async with world.adapter.running():
        for number in range(3):
            world.ask(f"q{number}")
        await world.answered(3)
    for number in range(3, 8):
        world.ask(f"q{number}")
    with sqlite3.connect(world.state / "matrix.db") as database:
        database.execute("UPDATE account SET next_batch = NULL")
    database.close()
    async with world.adapter.running():
        await world.answered(8)
    assert world.shown() == [f"You said: q{number}" for number in range(8)]
    assert len(world.platform.runs) == 8


async def test_with_an_old_state_restored_the_room_is_looked_at_first(
    world: World, tmp_path: Path
) -> None:
    async with world.adapter.running():
        world.ask("q0")
        await world.answered(1)
    shutil.copytree(world.state, tmp_path / "backup")
    async with world.adapter.running():
        world.ask("q1")
        world.ask("q2")
        await world.answered(3)
    world.ask("q3")
    shutil.rmtree(world.state)
    shutil.copytree(tmp_path / "backup", world.state)
    async with world.adapter.running():
        await world.answered(4)
    assert world.shown() == [f"You said: q{number}" for number in range(4)]
    assert len(world.platform.runs) == 4


async def test_an_old_state_restored_in_mid_answer_finishes_the_same_message(
    world: World, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate, " whole")
    async with world.adapter.running():
        pass
    shutil.copytree(world.state, tmp_path / "backup")
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.ask("hi")
            await world.server.until(lambda: world.shown() == ["half"])
            await world.adapter.crash(task)
    shutil.rmtree(world.state)
    shutil.copytree(tmp_path / "backup", world.state)
    gate.set()
    async with world.adapter.running():
        await world.answered(1)
    assert world.shown() == ["half whole"]
    assert len(world.platform.runs) == 1


async def test_a_final_whose_answer_was_lost_is_known_by_the_room(world: World) -> None:
    """Killed after the homeserver took the final, on another device: no second one."""
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.ask("hi")
            await world.answered(1)
            await world.adapter.crash(task)
    with sqlite3.connect(world.state / "matrix.db") as database:
        database.execute("UPDATE outbox SET state = 'pending', device_id = 'OLD', event_id = NULL")
        database.execute("UPDATE turn SET state = 'answered'")
    database.close()
    sent = len(world.server.asked("send"))
    async with world.adapter.running():
        world.ask("next")
        await world.answered(2)
    assert world.shown() == ["You said: hi", "You said: next"]
    assert all(
        "You said: next" in str(r.body) or "You said" not in str(r.body)
        for r in world.server.asked("send")[sent:]
    )


# --- upgrades ------------------------------------------------------------------------------------


async def test_an_upgraded_room_is_followed_with_its_memory(world: World) -> None:
    async with world.adapter.running():
        world.ask("before")
        await world.answered(1)
        new = upgrade(world, world.ada, predecessor=world.room)
        await world.server.until(lambda: world.server.rooms.membership(new, world.bot)[0] == "join")
        world.ask("after", new)
        await world.answered(1, new)
    before, after = world.platform.runs
    assert before.thread_id == after.thread_id


async def test_an_upgrade_that_names_a_strangers_room_brings_no_memory(world: World) -> None:
    async with world.adapter.running():
        world.ask("before")
        await world.answered(1)
        new = upgrade(world, world.ada, predecessor="!other:hs")
        await world.server.until(lambda: world.server.rooms.membership(new, world.bot)[0] == "join")
        world.ask("after", new)
        await world.answered(1, new)
    before, after = world.platform.runs
    assert before.thread_id != after.thread_id


async def test_a_tombstone_of_somebody_not_allowed_is_not_followed(world: World) -> None:
    eve = "@eve:evil.example"
    async with world.adapter.running():
        upgrade(world, eve, predecessor=world.room)
        world.ask("still here")
        await world.answered(1)
    assert not world.server.asked("join")


def upgrade(world: World, by: str, *, predecessor: str) -> str:
    """A tombstone in the room, naming a new room that names `predecessor`."""
    create = ("m.room.create", "", {"room_version": "11", "predecessor": {"room_id": predecessor}})
    rules = ("m.room.join_rules", "", {"join_rule": "public"})
    new = world.server.rooms.new_room(by, [create, rules])
    world.server.event(world.room, "m.room.tombstone", by, {"replacement_room": new}, state_key="")
    return new


# --- sync that misbehaves ------------------------------------------------------------------------


async def test_an_event_that_breaks_the_journalling_stops_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone in a batch, between others, and in what is read back into a gap."""
    real = Taker.take

    def poisoned(taker: Taker, event: Event, pos: int) -> None:
        if "poison" in str(event.content):
            raise ValueError("poison")
        real(taker, event, pos)

    monkeypatch.setattr(Taker, "take", poisoned)
    other = world.server.room(world.ada, world.bot)
    async with world.adapter.running():
        world.ask("poison")
        world.ask("works", other)
        await world.answered(1, other)
    for text in ("one", "poison", "two"):
        world.ask(text)
    async with world.adapter.running():
        await world.answered(2)
    world.server.timeline_limit = 2
    for text in ("three", "poison", "four", "five", "six"):
        world.ask(text)
    async with world.adapter.running():
        await world.answered(6)
    assert world.shown(other) == ["You said: works"]
    answers = [f"You said: {text}" for text in ("one", "two", "three", "four", "five", "six")]
    assert world.shown() == answers


async def test_stale_sync_responses_answer_nothing_twice_and_make_no_hot_loop(
    world: World,
) -> None:
    async with world.adapter.running():
        world.ask("one")
        await world.answered(1)
        world.server.repeat_sync(world.bot, times=3)
        world.ask("two")
        await world.answered(2)
    assert world.shown() == ["You said: one", "You said: two"]
    assert len(world.server.asked("sync")) < 40
