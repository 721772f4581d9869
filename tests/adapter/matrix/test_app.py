"""The adapter as a whole: a fake homeserver on one side, a scripted platform on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.marks import mark_of
from antiphon.errors import AgentRefusedError, AgentUnreachableError, TokenRevokedError
from antiphon.sdk.interface import Outcome
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import KEPT, kept_by
from antiphon.testing.world import World, until


@pytest.fixture(params=KEPT)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(request.param, made.platform, tmp_path):
            yield made


async def test_a_message_is_answered_streaming_in_one_message(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("Hello", gate, " there, ", "Ada.")
    async with world.adapter.running():
        world.ask("hi")
        await world.server.until(lambda: world.shown() == ["Hello"])
        gate.set()
        await world.answered()
    assert world.shown() == ["Hello there, Ada."]
    assert world.finals() == 1
    assert [run.question[0].text for run in world.platform.runs] == ["hi"]
    assert world.platform.runs[0].question[0].author == world.ada


async def test_questions_of_a_chat_are_answered_in_order_and_chats_side_by_side(
    world: World,
) -> None:
    other = world.server.room(world.ada, world.bot)
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("one")
        await world.server.until(lambda: world.shown() == ["slow"])
        world.ask("two")
        world.ask("elsewhere", other)
        await world.answered(1, other)
        assert world.shown() == ["slow"]
        gate.set()
        await world.answered(2)
    assert world.shown() == ["slow", "You said: two"]
    threads = {run.question[0].text: run.thread_id for run in world.platform.runs}
    assert threads["one"] == threads["two"] != threads["elsewhere"]


async def test_messages_sent_while_it_was_down_are_answered_once_in_order(world: World) -> None:
    async with world.adapter.running():
        world.ask("first")
        await world.answered(1)
    for text in ("a", "b", "c"):
        world.ask(text)
    async with world.adapter.running():
        await world.answered(4)
    assert world.shown() == [f"You said: {text}" for text in ("first", "a", "b", "c")]


async def test_more_than_a_timeline_holds_is_read_back_in_order(world: World) -> None:
    async with world.adapter.running():
        world.ask("first")
        await world.answered(1)
    world.server.timeline_limit = 3
    for number in range(12):
        world.ask(f"q{number}")
    async with world.adapter.running():
        await world.answered(13)
    assert world.shown()[1:] == [f"You said: q{number}" for number in range(12)]


async def test_killed_in_mid_answer_it_finishes_the_same_message(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate, " whole")
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.ask("hi")
            await world.server.until(lambda: world.shown() == ["half"])
            await world.adapter.crash(task)
    gate.set()
    async with world.adapter.running():
        await world.answered()
    assert world.shown() == ["half whole"]
    assert len(world.platform.runs) == 1
    assert len(set(world.platform.asks)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.lost_response(),
        faults.lost_request(),
        faults.html(),
        faults.truncated(),
        faults.limited(50),
    ],
    ids=["lost response", "lost request", "proxy page", "truncated", "429"],
)
async def test_a_fault_on_every_send_doubles_and_loses_nothing(
    world: World, fault: faults.Fault
) -> None:
    async with world.adapter.running():
        world.server.fail("send", fault, times=2)
        world.ask("hi")
        await world.answered()
    assert world.shown() == ["You said: hi"]
    assert world.finals() == 1


async def test_an_event_delivered_twice_is_answered_once(world: World) -> None:
    async with world.adapter.running():
        event = world.ask("hi")
        await world.answered()
        world.server.repeat_event(world.room, event)
        world.ask("next")
        await world.answered(2)
    assert world.shown() == ["You said: hi", "You said: next"]


async def test_an_invite_is_taken_and_the_message_sent_with_it_is_answered(world: World) -> None:
    """Clients send a direct chat's first message right after the invite."""
    room = world.server.room(world.ada)
    world.ask("before the bot was invited", room)
    async with world.adapter.running():
        world.server.membership(room, world.bot, "invite", by=world.ada)
        world.ask("right after the invite", room)
        await world.answered(1, room)
        world.ask("later", room)
        await world.answered(2, room)
    assert world.shown(room) == ["You said: right after the invite", "You said: later"]


async def test_a_strangers_invite_is_declined_and_their_words_unanswered(world: World) -> None:
    eve = "@eve:evil.example"
    room = world.server.room(eve)
    world.server.membership(world.room, eve, "join", by=eve)
    async with world.adapter.running():
        world.server.membership(room, world.bot, "invite", by=eve)
        await world.server.until(lambda: bool(world.server.asked("leave")))
        world.server.say(world.room, eve, "hello?")
        world.ask("hi")
        await world.answered()
    assert world.shown() == ["You said: hi"]
    assert not world.server.asked("join")


async def test_an_error_becomes_one_clear_sentence_with_an_id(world: World) -> None:
    world.platform.reply("some words", Outcome("error", "model_failed", "The model broke off."))
    async with world.adapter.running():
        world.ask("hi")
        await world.answered()
        world.ask("again")
        await world.answered(2)
    first, second = world.shown()
    assert first.startswith("some words\n\nThe model broke off. (error ")
    assert second == "You said: again"


async def test_an_unreachable_agent_ends_in_an_error_and_a_debt_that_is_paid(
    world: World,
) -> None:
    world.platform.reply("x", AgentUnreachableError("The agent does not answer."))
    async with world.adapter.running():
        world.ask("hi")
        await world.answered()
        await until(lambda: bool(world.platform.cancelled))
    assert "The agent does not answer. (error " in world.shown()[0]


async def test_stop_ends_the_answer_and_what_waits_and_the_lane_goes_on(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("A long", gate)
    async with world.adapter.running():
        world.ask("tell me")
        await world.server.until(lambda: world.shown() == ["A long"])
        world.ask("and this")
        world.ask("!stop")
        await world.answered(2)
        world.ask("now")
        await world.answered(3)
    assert world.shown() == ["A long\n\n*(stopped)*", "Stopped 2 answers.", "You said: now"]
    assert [run.question[0].text for run in world.platform.runs] == ["tell me", "now"]


async def test_new_begins_another_memory_in_its_turn(world: World) -> None:
    async with world.adapter.running():
        for text in ("one", "!new", "two", "!hepl"):
            world.ask(text)
        await world.answered(4)
    before, after = (run.thread_id for run in world.platform.runs)
    assert before != after
    assert world.shown()[3] == "There is no command `!hepl`. Did you mean `!help`?"
    notices = [e["content"]["msgtype"] for e in world.roots()]
    assert notices == ["m.text", "m.notice", "m.text", "m.notice"]


async def test_an_encrypted_room_is_told_once_and_gets_no_plaintext_answer(world: World) -> None:
    world.server.event(world.room, "m.room.encryption", world.ada, {}, state_key="")
    async with world.adapter.running():
        for _ in range(2):
            world.server.event(world.room, "m.room.encrypted", world.ada, {"ciphertext": "x"})
        world.ask("in plain")
        await world.answered()
        other = world.server.room(world.ada, world.bot)
        world.ask("hi", other)
        await world.answered(1, other)
    (told,) = world.shown()
    assert "encrypted" in told
    assert len(world.platform.runs) == 1


async def test_kicked_in_mid_answer_it_cancels_and_a_new_invite_works(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate)
    async with world.adapter.running():
        world.ask("hi")
        await world.server.until(lambda: world.shown() == ["half"])
        world.server.membership(world.room, world.bot, "leave", by=world.ada)
        await until(lambda: bool(world.platform.cancelled))
        world.ask("while away")
        world.server.membership(world.room, world.bot, "invite", by=world.ada)
        await world.server.until(lambda: bool(world.server.asked("join")))
        world.ask("back")
        await world.answered()
    assert world.shown() == ["half", "You said: back"]


async def test_malformed_events_are_skipped_and_the_rest_answered(world: World) -> None:
    async with world.adapter.running():
        for raw in (None, 7, {"type": "m.room.message"}, {"event_id": "$x", "content": []}):
            world.server.raw_event(world.room, raw)
        world.server.raw_event(
            world.room,
            {
                "event_id": "$odd",
                "type": "m.room.message",
                "sender": world.ada,
                "origin_server_ts": "yesterday",
                "content": {"msgtype": "m.text", "body": "odd", "m.relates_to": "broken"},
            },
        )
        world.ask("x" * 60_000)
        await world.answered(2)
    assert world.shown()[0] == "You said: odd"
    assert len(world.platform.runs[1].question[0].text) == 60_000


async def test_long_answers_are_split_and_every_part_is_final(world: World) -> None:
    paragraph = "word " * 199 + "end.\n\n"
    world.platform.reply(*[paragraph] * 40)
    async with world.adapter.running():
        world.ask("much")
        await world.server.until(lambda: _last(world), timeout_s=10)
    parts = world.shown()
    assert len(parts) > 1
    assert "".join("".join(parts).split()) == "".join((paragraph * 40).split())
    assert world.finals() == len(parts)


def _last(world: World) -> bool:
    marks = [mark_of(e["content"]) for e in world.server.messages(world.room, world.bot)]
    return any(mark is not None and mark.get("last") for mark in marks)


async def _until_it_ends(adapter: AdapterUnderTest, act: Any = lambda: None) -> None:
    async with adapter.running() as task:
        act()
        await asyncio.wait([task], timeout=5)


async def test_a_revoked_token_ends_it_with_a_clear_error(world: World) -> None:
    with pytest.raises(TokenRevokedError):
        await _until_it_ends(world.adapter, lambda: world.server.revoke(world.bot))
    assert len(world.server.asked("sync")) < 10


async def test_a_refused_agent_token_ends_it_and_the_question_waits(world: World) -> None:
    async with world.adapter.running():
        pass
    world.platform.refused = True
    world.ask("hi")
    with pytest.raises(AgentRefusedError):
        await _until_it_ends(world.adapter)
    world.platform.refused = False
    async with world.adapter.running():
        await world.answered()
    assert world.shown() == ["You said: hi"]


async def test_answers_in_a_thread_stay_in_it(world: World) -> None:
    async with world.adapter.running():
        root = world.ask("root")
        await world.answered()
        relation = {"rel_type": "m.thread", "event_id": root}
        world.server.say(world.room, world.ada, "inside", **{"m.relates_to": relation})
        await world.answered(2)
    relation = world.roots()[1]["content"]["m.relates_to"]
    assert (relation["rel_type"], relation["event_id"]) == ("m.thread", root)
