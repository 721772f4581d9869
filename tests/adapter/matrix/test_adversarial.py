"""People who want what is not theirs: another's chat, an administrator's power, a room that the bot
may not enter, an answer that they may not have. All refused, and nothing said of what is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.ids import RoomId, UserId
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import KEPT, kept_by
from antiphon.testing.world import World, until

EVE = "@eve:evil.example"
COMMANDS = (
    "!settings isolation room for room",
    "!settings model offline for room",
    "!allow @eve:evil.example",
    "!deny @ada:fake.localhost",
    "!quota everywhere turns_per_minute 1",
    "!status",
)


@pytest.fixture(params=KEPT)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(request.param, made.platform, tmp_path):
            yield made


async def isolate(world: World, value: str) -> None:
    await world.platform.set_setting(
        Scope("room", "matrix", world.room),
        "isolation",
        value,
        by=UserId(world.ada),
        request_id="i",
    )


def questions(world: World) -> list[str]:
    return [run.question[0].text for run in world.platform.runs]


async def told(world: World, since: int = 0) -> list[str]:
    """What the bot says after a question of Ada's, which shows that it was through with all."""
    world.ask("and now")
    await until(lambda: "You said: and now" in world.shown()[since:])
    return [text for text in world.shown()[since:] if text != "You said: and now"]


# --- others' chats --------------------------------------------------------------------------------


async def test_no_command_reaches_anothers_conversations(world: World) -> None:
    """Not by number, by session id, chat id or thread id; the reply is the same whether it is
    there or not."""
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    await isolate(world, "user")
    async with world.adapter.running():
        world.ask("my secret")
        await world.answered(1)
        world.ask("!new")
        await world.answered(2)
        chats = await world.platform.chats(UserId(world.bot))
        (mine,) = [chat for chat in chats if chat.place.user == world.ada]
        chat = await world.platform.chat(mine.place)
        known = await world.platform.sessions(chat.chat_id)
        names: list[str] = [str(s.number) for s in known if s.number != 1]
        names += [s.session_id for s in known] + [s.thread_id for s in known]
        names += [chat.chat_id, world.room, world.ada]
        for count, name in enumerate(names, 1):
            world.server.say(world.room, bob, f"!sessions {name}")
            await world.answered(2 + count)
        replies = world.shown()[2:]
        assert set(replies) == {
            "There is no such conversation here. `!sessions` lists them by number."
        }
        world.server.say(world.room, bob, "!sessions 9999")
        await world.answered(3 + len(names))
        assert world.shown()[-1] == replies[0]
        world.server.say(world.room, bob, "what did she say?")
        await world.answered(4 + len(names))
    threads = {run.question[0].text: run.thread_id for run in world.platform.runs}
    assert threads["my secret"] != threads["what did she say?"]


async def test_nobody_stops_or_repeats_what_another_asked(world: World) -> None:
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    await isolate(world, "user")
    async with world.adapter.running():
        world.ask("mine")
        await world.answered(1)
        world.server.say(world.room, bob, "!retry")
        await world.answered(2)
        world.server.say(world.room, bob, "!stop")
        await world.answered(3)
    assert world.shown()[1:] == [
        "There is no question here to ask again.",
        "Nothing is running here.",
    ]
    assert questions(world) == ["mine"]


async def test_an_edit_or_redaction_by_another_changes_nothing(world: World) -> None:
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        question = world.ask("mine")
        await world.answered(1)
        world.server.edit(world.room, bob, question, "yours")
        assert await told(world, 1) == []
    assert questions(world) == ["mine", "and now"]


# --- an administrator's power ---------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
async def test_who_is_no_administrator_gets_no_power_by_name_or_look(
    world: World, command: str
) -> None:
    """Not by the administrator's display name, nor by an id that looks like theirs."""
    world.adapter = world.life(admins=(world.ada,), allow=("*",))
    alike = world.ada.replace("@a", "@\N{CYRILLIC SMALL LETTER A}")
    server, others = world.server, (alike, "@ada:evil.example", "@Ada:fake.localhost")
    for who in others:
        server.membership(world.room, who, "join", by=who)
        server.event(
            world.room,
            "m.room.member",
            who,
            {"membership": "join", "displayname": "ada"},
            state_key=who,
        )
    before = await world.platform.rules()
    async with world.adapter.running():
        for number, who in enumerate(others, 1):
            server.say(world.room, who, command)
            await world.answered(number)
    assert all("Only " in text for text in world.shown()), world.shown()
    assert await world.platform.rules() == before


async def test_a_moderator_is_who_the_room_says_and_only_there(world: World) -> None:
    bob = world.server.account("bob")
    other = world.server.room(bob, world.bot)
    world.server.membership(world.room, bob, "join", by=bob)
    powers = {"users": {bob: 50}, "state_default": 50}
    world.server.event(other, "m.room.power_levels", bob, powers, state_key="")
    world.server.event(
        world.room, "m.room.power_levels", world.ada, {"users": {world.ada: 100}}, state_key=""
    )
    async with world.adapter.running():
        world.server.say(world.room, bob, "!settings answer_when addressed for room")
        await world.answered(1)
        world.server.say(other, bob, "!settings answer_when addressed for room")
        await world.answered(1, other)
    assert world.shown()[0].startswith("Only a moderator of this room")
    assert world.shown(other)[0].startswith("`answer_when` is `addressed` for this room now.")


async def test_a_power_that_cannot_be_seen_is_none(world: World) -> None:
    powers = {"users": {world.ada: 100}}
    world.server.event(world.room, "m.room.power_levels", world.ada, powers, state_key="")
    async with world.adapter.running():
        world.server.fail("state", faults.html(), times=50)
        world.ask("!settings answer_when addressed for room")
        await world.answered(1)
    assert world.shown()[0].startswith("Only a moderator of this room")


# --- who may talk, and where ----------------------------------------------------------------------


async def test_a_stranger_is_told_once_and_only_when_they_speak_to_the_bot(world: World) -> None:
    world.server.membership(world.room, EVE, "join", by=EVE)
    say = world.server.say
    async with world.adapter.running():
        say(world.room, EVE, "talking to the others")
        assert await told(world) == []
        say(world.room, EVE, "hello", **{"m.mentions": {"user_ids": [world.bot]}})
        say(world.room, EVE, "!help")
        say(world.room, EVE, "!settings")
        notes = await told(world, 1)
    assert len(notes) == 1
    assert "may not talk with you" in notes[0]
    assert EVE in notes[0]
    (note,) = [e for e in world.roots() if "may not talk" in e["content"]["body"]]
    assert note["content"]["msgtype"] == "m.notice"
    assert questions(world) == ["and now", "and now"]


async def test_a_stranger_alone_with_the_bot_is_told(world: World) -> None:
    room = world.server.room(EVE, world.bot)
    async with world.adapter.running():
        world.server.say(room, EVE, "hello?")
        await world.answered(1, room)
        world.server.say(room, EVE, "hello??")
        await told(world)
    assert len(world.shown(room)) == 1
    assert "may not talk with you" in world.shown(room)[0]


async def test_a_crowd_of_strangers_gets_no_crowd_of_notes(world: World) -> None:
    async with world.adapter.running():
        for number in range(12):
            who = f"@eve{number}:evil.example"
            world.server.membership(world.room, who, "join", by=who)
            world.server.say(world.room, who, "!help")
        await until(lambda: len(world.shown()) >= 5)
        assert len(await told(world)) == 5


async def test_who_is_blocked_is_not_even_told(world: World) -> None:
    world.adapter = world.life(admins=(world.ada,))
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        world.server.say(world.room, bob, "hi")
        await world.answered(1)
        world.ask(f"!deny {bob}")
        await world.answered(2)
        world.server.say(world.room, bob, "hi again")
        world.server.say(world.room, bob, "!help")
        assert await told(world, 2) == []
    assert questions(world) == ["hi", "and now"]


async def test_who_was_allowed_while_running_may_talk(world: World) -> None:
    world.server.membership(world.room, EVE, "join", by=EVE)
    await world.platform.set_role(EVE, Role.USER, by=UserId(world.ada), request_id="allow")
    async with world.adapter.running():
        world.server.say(world.room, EVE, "I may")
        await world.answered(1)
    assert questions(world) == ["I may"]


async def test_who_is_blocked_while_their_question_waits_is_not_answered(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        world.ask("first")
        await world.server.until(lambda: world.shown() == ["slow"])
        world.server.say(world.room, bob, "I wait")
        await asyncio.sleep(0.2)
        await world.platform.set_role(bob, Role.BLOCKED, by=UserId(world.ada), request_id="block")
        await asyncio.sleep(1.2)
        gate.set()
        assert await told(world, 1) == []
    assert questions(world) == ["first", "and now"]


@pytest.mark.parametrize("by", ["stranger", "blocked", "not in invite"])
async def test_an_invitation_by_who_may_not_invite_is_declined(world: World, by: str) -> None:
    bob = world.server.account("bob")
    who = EVE if by == "stranger" else bob
    world.adapter = world.life(
        blocked=(bob,) if by == "blocked" else (),
        invite=(world.ada,) if by == "not in invite" else (),
    )
    room = world.server.room(who)
    async with world.adapter.running():
        world.server.membership(room, world.bot, "invite", by=who)
        await world.server.until(lambda: bool(world.server.asked("leave")))
    (declined,) = world.server.asked("leave")
    assert "has to allow it first" in declined.body["reason"]
    assert not world.server.asked("join")


async def test_only_rooms_of_the_list_are_entered_and_answered_in(world: World) -> None:
    """An alias counts where the directory says that it is this room's, not where the room does."""
    server = world.server
    mine, theirs = server.room(world.ada), server.room(world.ada)
    server.aliases = {"#work:fake.localhost": mine}
    for room in (mine, theirs):
        server.event(
            room,
            "m.room.canonical_alias",
            world.ada,
            {"alias": "#work:fake.localhost"},
            state_key="",
        )
    world.adapter = world.life(rooms=("#work:*",))
    async with world.adapter.running():
        for room in (theirs, mine):
            server.membership(room, world.bot, "invite", by=world.ada)
            server.say(room, world.ada, "hi")
        await world.answered(1, mine)
        await server.until(lambda: bool(server.asked("leave")))
        world.ask("in a room that was joined before there was a list")
        world.ask("again", mine)
        await world.answered(2, mine)
    assert server.rooms.membership(theirs, world.bot)[0] == "leave"
    assert world.shown(theirs) == world.shown() == []


@pytest.mark.parametrize("listed", [True, False])
async def test_an_upgrade_leads_only_into_rooms_of_the_list(world: World, listed: bool) -> None:
    """By an alias too, which the upgrade takes along."""
    server = world.server
    new = server.rooms.new_room(
        world.ada,
        [
            ("m.room.create", "", {"predecessor": {"room_id": world.room}}),
            ("m.room.join_rules", "", {"join_rule": "public"}),
        ],
    )
    if listed:
        server.aliases = {"#work:fake.localhost": new}
    world.adapter = world.life(rooms=(world.room, "#work:fake.localhost"))
    async with world.adapter.running():
        world.ask("before")
        await world.answered(1)
        server.event(
            world.room, "m.room.tombstone", world.ada, {"replacement_room": new}, state_key=""
        )
        if listed:
            await server.until(lambda: server.rooms.membership(new, world.bot)[0] == "join")
            world.ask("after", new)
            await world.answered(1, new)
        else:
            await told(world, 1)
    assert (server.rooms.membership(new, world.bot)[0] == "join") is listed
    assert len({run.thread_id for run in world.platform.runs}) == 1


# --- commands where none may stand ----------------------------------------------------------------


async def test_an_edit_makes_no_command(world: World) -> None:
    async with world.adapter.running():
        question = world.ask("hello")
        await world.answered(1)
        thread = world.platform.runs[0].thread_id
        world.server.edit(world.room, world.ada, question, "!new")
        command = world.ask("!help")
        await world.answered(2)
        world.server.edit(world.room, world.ada, command, "!new")
        assert await told(world, 2) == []
    assert {run.thread_id for run in world.platform.runs} == {thread}


async def test_a_quote_makes_no_command(world: World) -> None:
    """Neither as a reply fallback nor as a quote in Markdown; a command behind it is none."""
    async with world.adapter.running():
        first = world.ask("first")
        await world.answered(1)
        thread = world.platform.runs[0].thread_id
        reply = {"m.relates_to": {"m.in_reply_to": {"event_id": first}}}
        world.server.say(world.room, world.ada, "> !new", **reply)
        await world.answered(2)
        world.server.say(world.room, world.ada, "> <@bob:fake.localhost> !new\n\nindeed", **reply)
        await world.answered(3)
        world.ask("look: !new")
        await world.answered(4)
    assert {run.thread_id for run in world.platform.runs} == {thread}
    assert len(world.platform.runs) == 4


@pytest.mark.parametrize(
    "more",
    [
        {"m.relates_to": {"io.antiphon.answer": {"turn": "t", "part": 0, "revision": 1}}},
        {"msgtype": "m.notice"},
    ],
    ids=["marked as an answer", "a notice"],
)
async def test_what_a_bot_says_of_itself_is_not_answered(
    world: World, more: dict[str, Any]
) -> None:
    world.adapter = world.life(break_loops=True)
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        world.server.say(world.room, bob, "I am a bot", **more)
        assert await told(world) == []


async def test_bots_that_answer_each_other_are_stopped(world: World) -> None:
    """A bot that answers every answer at once, without a mark; people go on."""
    world.adapter = world.life(break_loops=True)
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    async with world.adapter.running():
        for number in range(1, 30):
            world.server.say(world.room, bob, f"thank you {number}")
            await until(lambda n=number: len(world.shown()) >= min(n, 9))  # type: ignore[misc]
        assert "two bots answering each other" in world.shown()[-1]
        assert await told(world, 9) == []
    assert len(world.platform.runs) < 12


async def test_a_room_that_names_another_as_its_successor_brings_no_chat_along(
    world: World,
) -> None:
    """Whoever may write a tombstone names any room; only the new room's own word counts, and only
    who may invite brings us into it."""
    mallory = world.server.account("mallory")
    world.adapter = world.life(blocked=(mallory,))
    theirs = world.server.rooms.new_room(
        mallory, [("m.room.join_rules", "", {"join_rule": "public"})]
    )
    async with world.adapter.running():
        world.ask("a secret")
        await world.answered(1)
        world.server.event(
            world.room, "m.room.tombstone", mallory, {"replacement_room": theirs}, state_key=""
        )
        await told(world, 1)
    assert world.server.rooms.membership(RoomId(theirs), world.bot)[0] != "join"
