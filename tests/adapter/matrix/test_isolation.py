"""What a chat is in a room: the whole of it, each thread, each person; and that nothing is ever
wider than it was meant to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.journal import ruling
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.core.ids import EventId, RoomId, UserId
from antiphon.core.rules import Rules, SetValue
from antiphon.core.scopes import Scope
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.policies import policy_of
from antiphon.testing.remote_worlds import KEPT, kept_by
from antiphon.testing.world import World

ROOM = RoomId("!room:hs")


@pytest.fixture(params=KEPT)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(request.param, made.platform, tmp_path):
            yield made


async def isolate(world: World, value: str, room: str | None = None) -> None:
    scope = Scope("room", "matrix", room or world.room)
    await world.platform.set_setting(
        scope, "isolation", value, by=UserId(world.ada), request_id=f"{room} {value}"
    )


def in_thread(root: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


def threads(world: World) -> dict[str, str]:
    """The agent's thread of each question."""
    return {run.question[0].text: run.thread_id for run in world.platform.runs}


async def test_with_user_isolation_each_person_has_a_memory_of_their_own(world: World) -> None:
    """Also side by side: nobody waits for the other's answer, and `!new` and `!stop` are one's
    own."""
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    await isolate(world, "user")
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    async with world.adapter.running():
        world.ask("ada one")
        await world.server.until(lambda: world.shown() == ["slow"])
        world.server.say(world.room, bob, "bob one")
        await world.answered(1)
        world.server.say(world.room, bob, "!stop")
        await world.answered(2)
        world.server.say(world.room, bob, "!new")
        await world.answered(3)
        gate.set()
        await world.answered(4)
        world.ask("ada two")
        world.server.say(world.room, bob, "bob two")
        await world.answered(6)
    assert world.shown()[:3] == ["slow", "You said: bob one", "Nothing is running here."]
    found = threads(world)
    assert found["ada one"] == found["ada two"]
    assert len({found["ada one"], found["bob one"], found["bob two"]}) == 3


async def test_with_thread_isolation_each_thread_is_a_chat(world: World) -> None:
    await isolate(world, "thread")
    async with world.adapter.running():
        root = world.ask("outside")
        await world.answered(1)
        world.ask("inside", **in_thread(root))
        await world.answered(2)
        world.ask("inside again", **in_thread(root))
        world.ask("outside again")
        await world.answered(4)
    found = threads(world)
    assert found["outside"] == found["outside again"] != found["inside"] == found["inside again"]


async def test_a_change_holds_for_the_next_message_and_begins_new_conversations(
    world: World,
) -> None:
    """As soon as the reply to the command stands there."""
    world.adapter = world.life(admins=(world.ada,))
    async with world.adapter.running():
        world.ask("before")
        await world.answered(1)
        world.ask("!settings isolation user for room")
        await world.answered(2)
        world.ask("after")
        await world.answered(3)
        world.ask("!settings isolation room for room")
        await world.answered(4)
        world.ask("and back")
        await world.answered(5)
    assert world.shown()[1].startswith("`isolation` is `user` for this room now.")
    assert len(set(threads(world).values())) == 3


async def test_a_room_of_two_is_not_assumed_private(world: World) -> None:
    """Somebody else who comes later finds the room's memory, unless the room is isolated: so what
    is said in a room of two is the room's."""
    async with world.adapter.running():
        world.ask("hi")
        await world.answered()
    (chat,) = await world.platform.chats(UserId(world.bot))
    assert (chat.place.user, chat.place.thread_root) == (None, None)


async def test_an_upgraded_room_keeps_its_isolation_and_every_memory(world: World) -> None:
    """Also for what is said in the new room before the old one's chats have moved."""
    bob = world.server.account("bob")
    world.server.membership(world.room, bob, "join", by=bob)
    await isolate(world, "user")
    async with world.adapter.running():
        world.ask("ada before")
        world.server.say(world.room, bob, "bob before")
        await world.answered(2)
        new = world.server.rooms.new_room(
            world.ada,
            [
                ("m.room.create", "", {"predecessor": {"room_id": world.room}}),
                ("m.room.join_rules", "", {"join_rule": "public"}),
            ],
        )
        world.server.membership(new, bob, "join", by=bob)
        world.server.event(
            world.room, "m.room.tombstone", world.ada, {"replacement_room": new}, state_key=""
        )
        await world.server.until(lambda: world.server.rooms.membership(new, world.bot)[0] == "join")
        world.ask("ada after", new)
        world.server.say(new, bob, "bob after")
        await world.answered(2, new)
    found = threads(world)
    assert found["ada before"] == found["ada after"]
    assert found["bob before"] == found["bob after"] != found["ada after"]


def test_where_nobody_can_be_asked_nothing_is_wider_than_it_ever_was() -> None:
    policy = policy_of(["*"])
    assert policy.isolation(ROOM) == "room"
    policy.apply(policy.known, fresh=False)
    assert policy.isolation(ROOM) == "room", "it never was narrower"


async def test_the_narrowest_that_was_ever_set_is_kept(world: World) -> None:
    here = Scope("room", "matrix", ROOM)
    url = f"sqlite:///{world.state / 'other.db'}"
    journal = await Journal.open(url, UserId("@bot:hs"), "DEV")
    for version, value in (("1", "user"), ("2", "thread"), ("3", "room")):
        rules = Rules(version, settings=(SetValue(here, "isolation", value),))
        known = await journal.write(partial(ruling.keep, rules=rules, now_ms=1))
    await journal.close()
    policy = policy_of(["*"])
    policy.apply(known, fresh=True)
    assert policy.isolation(ROOM) == "room"
    policy.apply(known, fresh=False)
    assert policy.isolation(ROOM) == "user"
    assert policy.isolation(RoomId("!other:hs")) == "room"


def test_a_room_that_replaces_another_is_not_wider_unless_somebody_says_so() -> None:
    old, new = RoomId("!old:hs"), RoomId("!new:hs")
    narrow = SetValue(Scope("room", "matrix", old), "isolation", "user")
    policy = policy_of(["*"], Rules("1", settings=(narrow,)))
    assert policy.isolation(new, (old,)) == "user"
    wide = SetValue(Scope("room", "matrix", new), "isolation", "room")
    policy = policy_of(["*"], Rules("2", settings=(narrow, wide)))
    assert policy.isolation(new, (old,)) == "room"


@pytest.mark.parametrize(
    ("isolation", "thread", "user"),
    [("room", "", ""), ("thread", "$root", ""), ("user", "", "@ada:hs")],
)
def test_the_lane_of_a_message(isolation: str, thread: str, user: str) -> None:
    value = SetValue(Scope("surface", "matrix"), "isolation", isolation)
    policy = policy_of(["*"], Rules("1", settings=(value,)))
    lane = policy.lane(ROOM, EventId("$root"), UserId("@ada:hs"))
    assert (lane.place_thread, lane.place_user) == (thread, user)
