"""What applies: known before anything is heard, kept for a start at which nobody can be asked, and
in force from the moment that somebody is told so."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.policy import Policy
from antiphon.adapter.matrix.rules_watch import TRUSTED_FOR_S, RulesWatch
from antiphon.clock import SystemClock
from antiphon.core.ids import UserId
from antiphon.core.people import Role
from antiphon.core.roles import Access
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.errors import MasterRefusedError, MasterUnreachableError
from antiphon.sdk.interface import Outcome, ToolUse, Usage
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import KEPT, kept_by
from antiphon.testing.world import World, until


class AwayPlatform:
    """Makes the rules of a platform unreachable, while it says so."""

    def __init__(self, world: World):
        self.error: Exception | None = None
        self.asked = 0
        self._rules = world.platform.rules
        world.platform.rules = self.rules  # type: ignore[method-assign]

    async def rules(self) -> Rules:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return await self._rules()


@pytest.fixture(params=KEPT)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(request.param, made.platform, tmp_path):
            yield made


async def change(world: World, key: str, value: Any, scope: Scope | None = None) -> None:
    scope = scope or Scope("room", "matrix", world.room)
    await world.platform.set_setting(
        scope, key, value, by=UserId(world.ada), request_id=f"{scope} {key} {value}"
    )


def questions(world: World) -> list[str]:
    return [run.question[0].text for run in world.platform.runs]


# --- the snapshot ---------------------------------------------------------------------------------


async def test_before_the_rules_are_known_nothing_is_heard(world: World) -> None:
    """A start waits for whoever keeps them, as it does for the homeserver."""
    away = AwayPlatform(world)
    away.error = MasterUnreachableError("The control plane does not answer.")
    world.ask("early")

    async def comes_back() -> None:
        await until(lambda: away.asked >= 2)
        assert not world.server.asked("sync")
        away.error = None

    back = asyncio.create_task(comes_back())
    async with world.adapter.running():
        await back
        world.ask("hi")
        await world.answered(1)
    assert questions(world) == ["hi"]


async def test_a_first_start_goes_on_soon_after_the_control_plane_is_there(world: World) -> None:
    """However long it was away: nothing can be done meanwhile, so the waits stay short."""
    away = AwayPlatform(world)
    waits: list[float] = []
    away.error = MasterUnreachableError("The control plane does not answer.")

    class Counting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 12:
                away.error = None

    journal = await Journal.open(f"sqlite:///{world.state / 'rules.db'}", UserId(world.bot), "DEV")
    policy = Policy(Access(), "bot")
    names: Any = None
    with structlog.testing.capture_logs() as logs:
        await RulesWatch(world.platform, journal, policy, Counting(), names).begin()
    await journal.close()
    assert policy.fresh
    assert max(waits) == waits[-1] == 2.0
    assert [line["event"] for line in logs].count("rules_unknown") == 3


async def test_a_wrong_token_of_the_control_plane_ends_a_first_start(world: World) -> None:
    away = AwayPlatform(world)
    away.error = MasterRefusedError("The control plane does not accept our token.")
    with pytest.raises(MasterRefusedError):
        async with world.adapter.running():
            pass


async def test_a_start_without_the_control_plane_goes_on_with_what_was_known(world: World) -> None:
    """Isolation, roles that were given not long ago, and blocks."""
    bob, eve = world.server.account("bob"), "@eve:evil.example"
    for who in (bob, eve):
        world.server.membership(world.room, who, "join", by=who)
    await change(world, "isolation", "user")
    await world.platform.set_role(eve, Role.USER, by=UserId(world.ada), request_id="a")
    await world.platform.set_role(bob, Role.BLOCKED, by=UserId(world.ada), request_id="b")
    away = AwayPlatform(world)
    async with world.adapter.running():
        world.ask("hi")
        await world.answered(1)
    away.error = MasterUnreachableError("The control plane does not answer.")
    async with world.adapter.running():
        world.server.say(world.room, bob, "I am blocked")
        world.server.say(world.room, eve, "I am allowed")
        await world.answered(2)
    assert questions(world) == ["hi", "I am allowed"]
    places = [chat.place.user for chat in await world.platform.chats(UserId(world.bot))]
    assert sorted(filter(None, places)) == sorted([world.ada, eve])


async def test_roles_that_were_given_long_ago_count_no_more_blocks_do(world: World) -> None:
    bob, eve = world.server.account("bob"), "@eve:evil.example"
    for who in (bob, eve):
        world.server.membership(world.room, who, "join", by=who)
    await world.platform.set_role(eve, Role.USER, by=UserId(world.ada), request_id="a")
    await world.platform.set_role(bob, Role.BLOCKED, by=UserId(world.ada), request_id="b")
    away = AwayPlatform(world)
    async with world.adapter.running():
        pass
    with contextlib.closing(sqlite3.connect(world.state / "matrix.db")) as database:
        database.execute(f"UPDATE rules SET known_ms = known_ms - {TRUSTED_FOR_S * 1000:.0f}")
        database.commit()
    away.error = MasterUnreachableError("The control plane does not answer.")
    async with world.adapter.running():
        world.server.say(world.room, bob, "I am blocked")
        world.server.say(world.room, eve, "I was allowed")
        world.ask("the file allows me")
        await world.answered(1)
    assert questions(world) == ["the file allows me"]


async def test_a_change_from_elsewhere_is_followed(world: World) -> None:
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        world.ask("one")
        await world.answered(1)
        await world.platform.set_role(
            world.ada, Role.BLOCKED, by=UserId("@admin:hs"), request_id="block"
        )
        await asyncio.sleep(1.2)  # the oldest that a snapshot may be
        world.ask("two")
        world.server.say(world.room, bob, "am I blocked too?")
        await world.answered(2)
        await world.platform.set_role(world.ada, None, by=UserId("@admin:hs"), request_id="unblock")
        await asyncio.sleep(1.2)
        world.ask("three")
        await world.answered(3)
    assert questions(world) == ["one", "am I blocked too?", "three"]


# --- when it answers ------------------------------------------------------------------------------


async def test_where_it_answers_when_addressed(world: World) -> None:
    """A mention, a reply to one of its messages, a command; not what is said to others, not
    `@room`, not a reply to somebody else, not the fallback of a thread."""
    await change(world, "answer_when", "addressed")
    async with world.adapter.running():
        world.server.say(world.room, world.ada, "to everybody", **{"m.mentions": {"room": True}})
        world.server.say(
            world.room, world.ada, "to Bob", **{"m.mentions": {"user_ids": ["@bob:hs"]}}
        )
        mentioned = world.server.say(
            world.room, world.ada, "to you", **{"m.mentions": {"user_ids": [world.bot]}}
        )
        await world.answered(1)
        answer = world.roots()[0]["event_id"]
        world.server.say(
            world.room,
            world.ada,
            "and that?",
            **{"m.relates_to": {"m.in_reply_to": {"event_id": answer}}},
        )
        await world.answered(2)
        world.server.say(
            world.room,
            world.ada,
            "to myself",
            **{"m.relates_to": {"m.in_reply_to": {"event_id": mentioned}}},
        )
        fallback = {
            "rel_type": "m.thread",
            "event_id": mentioned,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": answer},
        }
        world.server.say(world.room, world.ada, "in a thread", **{"m.relates_to": fallback})
        world.ask(f"{world.bot}: by name, from an old client")
        await world.answered(3)
        world.ask("!help")
        await world.answered(4)
    assert questions(world) == ["to you", "and that?", f"{world.bot}: by name, from an old client"]


# --- limits ---------------------------------------------------------------------------------------


async def test_more_than_a_minute_allows_gets_one_clear_reply(world: World) -> None:
    await change(world, "turns_per_minute", 2, Scope("surface", "matrix"))
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        for number in range(6):
            world.ask(f"q{number}")
        await world.answered(3)
        world.server.say(world.room, bob, "a limit is each person's")
        await world.answered(4)
    notes = [text for text in world.shown() if "You may ask 2 questions in a minute" in text]
    assert len(notes) == 1
    assert questions(world) == ["q0", "q1", "a limit is each person's"]


async def test_edits_count_as_questions(world: World) -> None:
    await change(world, "turns_per_minute", 2, Scope("surface", "matrix"))
    async with world.adapter.running():
        question = world.ask("one")
        await world.answered(1)
        for text in ("two", "three", "four"):
            world.server.edit(world.room, world.ada, question, text)
        await until(lambda: len(world.shown()) == 2)
    assert questions(world) == ["one", "two"]
    assert "You may ask 2 questions in a minute" in world.shown()[1]


async def test_what_was_said_while_nobody_read_is_not_judged_as_said_at_once(world: World) -> None:
    await change(world, "turns_per_minute", 2, Scope("surface", "matrix"))
    async with world.adapter.running():
        world.ask("first")
        await world.answered(1)
    for number in range(4):
        world.ask(f"q{number}")
    async with world.adapter.running():
        await world.answered(5)
    assert len(world.platform.runs) == 5


async def test_more_may_not_wait_than_the_limit_says(world: World) -> None:
    await change(world, "queued_turns", 2, Scope("surface", "matrix"))
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("one")
        await world.server.until(lambda: world.shown() == ["slow"])
        for text in ("two", "three", "four"):
            world.ask(text)
        await asyncio.sleep(0.3)
        gate.set()
        await world.answered(3)
        world.ask("five")
        await world.answered(4)
    assert questions(world) == ["one", "two", "five"]


async def test_tokens_of_a_day_end_it_for_a_room(world: World) -> None:
    """Counted from the outcomes of runs, also of those that nobody else has counted yet."""
    await change(world, "tokens_per_day", 100)
    world.platform.reply("much", Outcome("success", usage=Usage(60, 60, 1.0)))
    async with world.adapter.running():
        world.ask("one")
        await world.answered(1)
        world.ask("two")
        await world.answered(2)
        world.ask("three")
        world.ask("!help")
        await world.answered(3)
    assert questions(world) == ["one"]
    assert world.shown()[1].startswith("This room has used up this room's 100 tokens of today.")


async def test_who_is_forgotten_has_not_got_the_day_s_tokens_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept about them goes; the limit of this day stays used up while the adapter runs."""
    monkeypatch.setattr("antiphon.adapter.matrix.rules_watch.TOKENS_EVERY_S", 0.0)
    ada = UserId(world.ada)
    await change(world, "tokens_per_day", 100, Scope("user", "matrix", ada))
    world.platform.reply("much", Outcome("success", usage=Usage(60, 60, 1.0)))
    async with world.adapter.running():
        world.ask("one")
        await world.answered(1)
        world.ask("two")
        await world.answered(2)
        world.ask("!forget-me yes")
        await world.answered(3)
        world.ask("three")
        world.ask("!help")
        await world.answered(4)
    assert (await world.platform.usage(since_ms=0, user_id=ada)).tokens == 0
    assert questions(world) == ["one"]


# --- usage ----------------------------------------------------------------------------------------


async def test_what_a_run_used_is_counted_once_whatever_is_away(world: World) -> None:
    world.platform.reply("a", Outcome("success", usage=Usage(3, 4, 1.5)))
    world.platform.reply("b", Outcome("error", "model_failed", "No.", usage=Usage(5, 0, 0.5)))
    taken, record = [], world.platform.record_usage

    async def sometimes(entries: Any) -> None:
        taken.append(entries)
        if len(taken) == 1:
            raise MasterUnreachableError("The control plane does not answer.")
        await record(entries)
        if len(taken) == 2:
            raise MasterUnreachableError("It did, and its answer was lost.")

    world.platform.record_usage = sometimes  # type: ignore[method-assign]
    async with world.adapter.running():
        world.ask("one")
        world.ask("two")
        await world.answered(2)
        await until(lambda: len(taken) >= 3, 20)
    used = await world.platform.usage(since_ms=0, user_id=UserId(world.ada))
    assert (used.turns, used.input_tokens, used.output_tokens, used.seconds) == (2, 8, 4, 2.0)
    assert await world.platform.usage(since_ms=0, user_id=UserId("@bob:hs")) != used


# --- what people feel -----------------------------------------------------------------------------


async def test_without_streaming_the_first_event_is_the_answer(world: World) -> None:
    await change(world, "streaming", False)
    gate = asyncio.Event()
    world.platform.reply("one", gate, " two")
    async with world.adapter.running():
        world.ask("hi")
        await until(lambda: bool(world.platform.runs))
        await asyncio.sleep(0.3)
        assert world.shown() == []
        gate.set()
        await world.answered(1)
    assert world.shown() == ["one two"]
    assert len(world.server.messages(world.room, world.bot)) == 1


@pytest.mark.parametrize(
    ("show", "under"),
    [
        ("none", ""),
        ("names", "\n\n*used `clock` ×2, `web`*"),  # noqa: RUF001
        (
            "results",
            "\n\n- `clock`: `12:00 'o'clock'`\n- `clock`\n- `web` failed: `<b>@room</b> no`",
        ),
    ],
)
async def test_tools_are_shown_as_the_setting_says(world: World, show: str, under: str) -> None:
    """What a tool gave back is nobody's word: one line of code, no markup, no mention."""
    await change(world, "show_tools", show)
    world.platform.reply(
        "It is noon.",
        ToolUse("clock", "{}", "12:00\n`o`clock`", "ok"),
        ToolUse("clock", "{}", None),
        ToolUse("web", "{}", "<b>@room</b>\nno", "error"),
    )
    async with world.adapter.running():
        world.ask("hi")
        await world.answered(1)
    (shown,) = world.shown()
    assert shown == f"It is noon.{under}"
    last = world.server.messages(world.room, world.bot)[-1]["content"]
    assert "<b>" not in str(last.get("m.new_content", last).get("formatted_body"))


# --- fair when busy -------------------------------------------------------------------------------


async def test_who_asks_much_delays_nobody_else_when_it_is_busy(world: World) -> None:
    world.adapter = world.life(max_running=1)
    bob = world.server.account("bob")
    rooms = [world.server.room(world.ada, world.bot) for _ in range(4)]
    his = world.server.room(bob, world.bot)
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("first")
        await world.server.until(lambda: world.shown() == ["slow"])
        for number, room in enumerate(rooms):
            world.ask(f"much {number}", room)
        await asyncio.sleep(0.3)
        world.server.say(his, bob, "one small question")
        await asyncio.sleep(0.3)
        assert len(world.platform.runs) == 1
        gate.set()
        await world.answered(1, his)
        for room in rooms:
            await world.answered(1, room)
    assert questions(world)[1] == "one small question"
