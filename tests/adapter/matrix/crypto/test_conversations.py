"""Devices talk to each other in encrypted rooms: everybody who may read can, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.crypto.values import Decrypted, RoomSettings
from antiphon.errors import EncryptionError
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN, CAT = "@ann:x", "@ben:x", "@cat:y"
HOUR = 3_600


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


async def test_a_conversation_goes_both_ways(world: World, store_url: str) -> None:
    """On both databases; our own messages can be read too."""
    ann, ben = await world.join(ANN, "A", store_url), await world.join(BEN, "B")
    for number in range(3):
        for writer, reader in ((ann, ben), (ben, ann)):
            event = await writer.write(ROOM, f"message {number}", [ANN, BEN])
            await reader.sync()
            assert await reader.read(ROOM, event) == f"message {number}"
            assert await writer.read(ROOM, event) == f"message {number}"


async def test_it_goes_on_after_every_restart(world: World, store_url: str) -> None:
    ann, ben = await world.join(ANN, "A", store_url), await world.join(BEN, "B")
    events = []
    for number in range(4):
        events.append(await ann.write(ROOM, f"{number}", [ANN, BEN]))
        await ann.open()
        await ben.sync()
        await ben.open()
    assert [await ben.read(ROOM, event) for event in events] == ["0", "1", "2", "3"]
    assert [await ann.read(ROOM, event) for event in events] == ["0", "1", "2", "3"]
    assert len({event["content"]["session_id"] for event in events}) == 1


async def test_every_device_of_everybody_reads_our_own_others_too(world: World) -> None:
    ann = await world.join(ANN, "A")
    others = [await world.join(ANN, "A2"), await world.join(BEN, "B"), await world.join(BEN, "B2")]
    await ann.sync()
    event = await ann.write(ROOM, "hello", [ANN, BEN])
    for other in others:
        await other.sync()
        assert await other.read(ROOM, event) == "hello"


async def test_the_key_is_given_once(world: World) -> None:
    """A second message needs no request at all."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.write(ROOM, "one", [ANN, BEN])
    await ann.sync()
    world.directory.requests.clear()
    event = await ann.write(ROOM, "two", [ANN, BEN])
    assert world.directory.requests == []
    await ben.sync()
    assert await ben.read(ROOM, event) == "two"


async def test_a_message_to_a_room_whose_key_nobody_has_is_refused(world: World) -> None:
    ann = await world.join(ANN, "A")
    with pytest.raises(EncryptionError) as refused:
        await ann.encrypted(ROOM, "too early")
    assert refused.value.retryable


async def test_who_joins_late_reads_only_what_is_new(world: World) -> None:
    """And the session stays the same: joining is no reason for another."""
    ann, _ = await world.join(ANN, "A"), await world.join(BEN, "B")
    old = await ann.write(ROOM, "before", [ANN, BEN])
    cat = await world.join(CAT, "C")
    new = await ann.write(ROOM, "after", [ANN, BEN, CAT])
    assert new["content"]["session_id"] == old["content"]["session_id"]
    await cat.sync()
    assert await cat.read(ROOM, new) == "after"
    assert (await cat.unreadable(ROOM, old)).reason == "no_key"


async def test_who_left_reads_nothing_that_is_new(world: World) -> None:
    ann, _, cat = [await world.join(*who) for who in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
    await ann.write(ROOM, "before", [ANN, BEN, CAT])
    event = await ann.write(ROOM, "after", [ANN, BEN])
    await cat.sync()
    assert (await cat.unreadable(ROOM, event)).reason == "no_key"
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == ""


async def test_a_device_that_was_logged_out_reads_nothing_that_is_new(world: World) -> None:
    ann, ben, lost = [await world.join(*who) for who in ((ANN, "A"), (BEN, "B"), (BEN, "B2"))]
    await ann.write(ROOM, "before", [ANN, BEN])
    await lost.sync()
    world.directory.log_out(BEN, "B2")
    await ann.sync()
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == "left"
    event = await ann.encrypted(ROOM, "after")
    await ben.sync()
    assert await ben.read(ROOM, event) == "after"
    assert (await lost.unreadable(ROOM, event)).reason == "no_key"


@pytest.mark.parametrize(
    ("settings", "sent", "waited", "rotated"),
    [
        (RoomSettings(rotation_period_msgs=3), 2, 0, ""),
        (RoomSettings(rotation_period_msgs=3), 3, 0, "messages"),
        (RoomSettings(rotation_period_msgs=0), 1, 0, "messages"),
        (RoomSettings(rotation_period_ms=2 * HOUR * 1000), 1, 2 * HOUR - 1, ""),
        (RoomSettings(rotation_period_ms=2 * HOUR * 1000), 1, 2 * HOUR, "age"),
        (RoomSettings(rotation_period_ms=1), 1, HOUR - 1, ""),
        (RoomSettings(), 1, 7 * 24 * HOUR, "age"),
        (RoomSettings(), 100, 0, "messages"),
    ],
)
async def test_a_session_is_replaced_in_time(
    world: World, settings: RoomSettings, sent: int, waited: int, rotated: str
) -> None:
    """After so many messages or so long as the room says, within bounds of our own."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    assert (await ann.ready(ROOM, [ANN, BEN], settings)).rotated == "first"
    for _ in range(sent):
        await ann.encrypted(ROOM, "x")
    await world.clock.advance(waited)
    assert (await ann.ready(ROOM, [ANN, BEN], settings)).rotated == rotated
    event = await ann.encrypted(ROOM, "read me")
    await ben.sync()
    assert await ben.read(ROOM, event) == "read me"


async def test_a_clock_that_steps_back_replaces_the_session_once(world: World) -> None:
    ann, _ = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    world.clock.step_wall(-HOUR * 1000)
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == "age"
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == ""


async def test_the_relation_of_a_message_stands_in_the_clear_and_inside(world: World) -> None:
    """The homeserver needs it; and one that stands only in the clear is read too."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    relates = {"rel_type": "m.replace", "event_id": "$1", "org.antiphon.turn": "t1"}
    content = await ann.crypto.encrypt(ROOM, "m.room.message", {"m.relates_to": relates})
    assert content["m.relates_to"] == relates
    await ben.sync()
    found = await ben.crypto.decrypt(ROOM, world.event(ANN, content))
    assert isinstance(found, Decrypted)
    assert found.content["m.relates_to"] == relates
    bare = await ann.crypto.encrypt(ROOM, "m.room.message", {"body": "x"})
    found = await ben.crypto.decrypt(ROOM, world.event(ANN, {**bare, "m.relates_to": relates}))
    assert isinstance(found, Decrypted)
    assert found.content == {"body": "x", "m.relates_to": relates}


async def test_what_is_known_of_the_writer_is_told(world: World) -> None:
    """A device that we don't know yet, one that its owner did not sign, one that the owner did,
    and our own."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")

    async def trust(reader: Someone, event: dict[str, object]) -> tuple[str, str]:
        found = await reader.crypto.decrypt(ROOM, event)
        assert isinstance(found, Decrypted)
        return found.trust, found.device_id

    event = await ben.write(ROOM, "x", [ANN, BEN])
    await ann.sync()
    assert await trust(ann, event) == ("unknown-device", "")
    await ann.ready(ROOM, [ANN, BEN])
    assert await trust(ann, event) == ("unsigned", "B")
    world.directory.cross_sign(BEN)
    await ann.sync()
    assert await trust(ann, event) == ("cross-signed", "B")
    assert await trust(ben, event) == ("own", "B")


async def test_only_signed_devices_get_the_key_where_that_is_asked_for(world: World) -> None:
    """The others are told so, once; and get the key when they are signed."""
    ann, ben, new = [await world.join(*who) for who in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
    world.directory.cross_sign(BEN)
    strict = RoomSettings(only_cross_signed=True)
    members = [ANN, BEN, CAT]
    first = await ann.ready(ROOM, members, strict)
    assert [(p.device_id, p.code) for p in first.missing] == [("C", "m.unverified")]
    await ann.ready(ROOM, members, strict)
    told = [sent[2] for sent in world.directory.sent if sent[0] == "m.room_key.withheld"]
    assert told == ["C"]
    event = await ann.encrypted(ROOM, "signed only")
    await ben.sync()
    assert await ben.read(ROOM, event) == "signed only"
    received = await new.sync()
    assert [key.session_id for key in received.withheld] == [event["content"]["session_id"]]
    why = await new.unreadable(ROOM, event)
    assert (why.reason, why.code, why.may_pass) == ("withheld", "m.unverified", True)
    world.directory.cross_sign(CAT)
    await ann.sync()
    after = await ann.write(ROOM, "now you too", members, strict)
    await new.sync()
    assert await new.read(ROOM, after) == "now you too"


async def test_who_turns_strict_replaces_the_session(world: World) -> None:
    """Else the unsigned devices would read on."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    assert (await ann.ready(ROOM, [ANN, BEN], RoomSettings(only_cross_signed=True))).rotated
    event = await ann.encrypted(ROOM, "x")
    await ben.sync()
    assert (await ben.unreadable(ROOM, event)).reason == "withheld"


async def test_many_write_at_once(world: World) -> None:
    """Tasks that share, rotate and encrypt in one room do not get into each other's way."""
    import asyncio

    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    settings = RoomSettings(rotation_period_msgs=3)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ann.write(ROOM, f"{number}", [ANN, BEN], settings))
            for number in range(20)
        ]
    await ben.sync()
    texts = [await ben.read(ROOM, task.result()) for task in tasks]
    assert sorted(texts, key=int) == [str(number) for number in range(20)]
