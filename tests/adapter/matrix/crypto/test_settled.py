"""A settled room costs nothing by device; whatever may change who reads along unsettles it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from antiphon.adapter.matrix.crypto.sharing import CLAIM_AGAIN_MS
from antiphon.adapter.matrix.crypto.values import RoomSettings
from antiphon.errors import EncryptionError
from antiphon.testing.crypto_crowd import crowd
from antiphon.testing.crypto_world import Someone, World

ROOM, OTHER = "!room:x", "!other:x"
ANN, BEN, CYD = "@ann:x", "@ben:x", "@cyd:y"
LOOSE = RoomSettings()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


@contextmanager
def statements() -> Iterator[list[str]]:
    """All SQL that any database runs in the block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def settled(someone: Someone, members: list[str], settings: RoomSettings = LOOSE) -> bool:
    return someone.crypto.is_ready(ROOM, members, settings)


async def test_a_message_in_a_settled_room_reads_nothing_of_devices(world: World) -> None:
    ann = await world.join(ANN, "A")
    members = [ANN, *crowd(world.directory, 30, 4)]
    with statements() as first:
        await ann.write(ROOM, "one", members)
    assert any("device" in statement for statement in first)
    world.directory.requests.clear()
    with statements() as later:
        for _ in range(3):
            await ann.write(ROOM, "more", members)
    assert not [s for s in later if any(t in s for t in (" device", "share", "person", "olm_"))]
    assert len(later) == len(set(later)) * 3 == 12
    assert world.directory.requests == []


async def test_only_rooms_with_a_person_whose_devices_changed_are_looked_at_again(
    world: World,
) -> None:
    ann = await world.join(ANN, "A")
    await world.join(BEN, "B")
    await world.join(CYD, "C")
    await ann.sync()
    await ann.ready(ROOM, [ANN, BEN])
    await ann.ready(OTHER, [ANN, CYD])
    await world.join(CYD, "C2")
    await ann.sync(settle=False)
    assert settled(ann, [ANN, BEN])
    assert not ann.crypto.is_ready(OTHER, [ANN, CYD], LOOSE)


async def test_nothing_is_written_before_a_change_was_looked_at(world: World) -> None:
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.sync()
    await ann.ready(ROOM, [ANN, BEN])
    world.directory.log_out(BEN, "B")
    await ann.sync()
    with pytest.raises(EncryptionError):
        await ann.encrypted(ROOM, "after Ben's device was gone")
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == "left"
    event = await ann.encrypted(ROOM, "after Ben's device was gone")
    assert (await ben.unreadable(ROOM, event)).reason == "no_key"


@pytest.mark.parametrize("members", [[ANN], [ANN, BEN, CYD]], ids=["left", "joined"])
async def test_a_change_of_members_or_of_the_rule_unsettles(
    world: World, members: list[str]
) -> None:
    ann = await world.join(ANN, "A")
    await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    assert settled(ann, [BEN, ANN])
    assert not settled(ann, members)
    assert not settled(ann, [ANN, BEN], RoomSettings(only_cross_signed=True))


async def test_what_changes_while_keys_are_given_is_not_taken_for_settled(world: World) -> None:
    """A device that appears in the middle gets its key before anything is written."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.sync()
    sent, go_on = asyncio.Event(), asyncio.Event()
    original = ann.crypto.machine.shared

    async def held(batch: Any) -> None:
        sent.set()
        await go_on.wait()
        await original(batch)

    ann.crypto.machine.shared = held  # type: ignore[method-assign]
    making = asyncio.create_task(ann.ready(ROOM, [ANN, BEN]))
    await sent.wait()
    second = await world.join(BEN, "B2")
    await ann.sync(settle=False)
    go_on.set()
    await making
    assert not settled(ann, [ANN, BEN])
    event = await ann.write(ROOM, "to both", [ANN, BEN])
    for device in (ben, second):
        await device.sync()
        assert await device.read(ROOM, event) == "to both"


async def test_who_could_not_be_asked_for_is_asked_for_again_in_time(world: World) -> None:
    ann, cyd = await world.join(ANN, "A"), await world.join(CYD, "C")
    world.directory.failing.add("y")
    await ann.ready(ROOM, [ANN, CYD])
    assert settled(ann, [ANN, CYD])  # others are not kept waiting
    world.directory.failing.clear()
    await world.clock.advance(60)
    assert not settled(ann, [ANN, CYD])
    event = await ann.write(ROOM, "now", [ANN, CYD])
    await cyd.sync()
    assert await cyd.read(ROOM, event) == "now"


@pytest.mark.parametrize("writes", [False, True], ids=["in time", "when it writes"])
async def test_a_device_without_one_time_keys_gets_its_key_later(
    world: World, writes: bool
) -> None:
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    one_time, fallback = dict(ben.mine.one_time), dict(ben.mine.fallback)
    ben.mine.one_time.clear()
    ben.mine.fallback.clear()
    await ann.sync()
    ready = await ann.ready(ROOM, [ANN, BEN])
    assert [problem.code for problem in ready.missing] == ["m.no_olm"]
    assert settled(ann, [ANN, BEN])
    ben.mine.one_time, ben.mine.fallback = one_time, fallback
    if writes:
        await ben.sync()
        await ben.ready(OTHER, [ANN, BEN])
        await ann.sync(settle=False)
    else:
        await world.clock.advance(CLAIM_AGAIN_MS / 1000)
    assert not settled(ann, [ANN, BEN])
    event = await ann.write(ROOM, "now", [ANN, BEN])
    await ben.sync()
    assert await ben.read(ROOM, event) == "now"


async def test_a_device_that_lost_its_sessions_unsettles(world: World) -> None:
    """It says so by an `m.dummy`, and gets the keys once more."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    await ann.sync()
    await ben.sync()
    await ann.ready(ROOM, [ANN, BEN])
    await ben.crypto.look_up(ANN)
    assert await ben.crypto.send_sealed("m.dummy", {ANN: {"A": {}}}) == ()
    await ann.sync(settle=False)
    assert not settled(ann, [ANN, BEN])


async def test_a_new_life_looks_anew(world: World) -> None:
    ann = await world.join(ANN, "A")
    await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    await ann.open()
    with pytest.raises(EncryptionError):
        await ann.encrypted(ROOM, "x")
    assert (await ann.ready(ROOM, [ANN, BEN])).rotated == ""


async def test_the_clock_set_back_unsettles(world: World) -> None:
    ann = await world.join(ANN, "A")
    await world.join(BEN, "B")
    await ann.ready(ROOM, [ANN, BEN])
    world.clock.step_wall(-1)
    assert not settled(ann, [ANN, BEN])
