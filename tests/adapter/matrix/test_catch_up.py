"""Catching up ends where nothing more waits: news about keys alone are nothing to wait for, and
to-device messages, which come in portions, are read to their end before that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_keys import MOST_MESSAGES
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World


@pytest.fixture
async def world(kept: str, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path / "state")
        made.state.mkdir()
        made.room = server.room(made.ada, made.bot)
        async with kept_by(kept, made.platform, tmp_path):
            await made.adapter.reconcile()
            yield made


async def catch_ups(world: World) -> int:
    """How many answers the next life reads before it is caught up."""
    before = len(world.server.asked("sync"))
    async with world.adapter.running():
        # Every request of catching up asks for an answer at once.
        synced = world.server.asked("sync")[before:]
    return sum(request.query["timeout"] == "0" for request in synced)


def publish(world: World, device_id: str) -> None:
    """Ada's device has keys now."""
    keys = {"user_id": world.ada, "device_id": device_id, "algorithms": [], "keys": {}}
    world.server.keys.upload(world.ada, device_id, {"device_keys": keys})


async def test_a_changed_device_list_alone_ends_it(world: World) -> None:
    quiet = await catch_ups(world)
    publish(world, "PHONE")
    assert await catch_ups(world) == quiet


async def test_a_device_list_that_is_repeated_for_ever_does_not_hold_it_up(world: World) -> None:
    """As from a broken cache, with a cursor that stands still."""
    quiet = await catch_ups(world)
    same = {
        "next_batch": f"s{world.server.rooms.position}",
        "device_lists": {"changed": [world.ada]},
    }
    world.server.fail("sync", faults.answer(msgspec.json.encode(same)), times=20)
    assert await catch_ups(world) == quiet


async def test_a_question_behind_a_changed_device_list_is_seen(world: World) -> None:
    publish(world, "PHONE")
    world.ask("hello")
    await world.adapter.reconcile()
    assert world.shown() == ["You said: hello"]


async def test_all_portions_of_to_device_messages_are_read(world: World) -> None:
    quiet = await catch_ups(world)
    for number in range(2 * MOST_MESSAGES + 1):
        message = {"type": "org.test", "sender": world.ada, "content": {"n": number}}
        world.server.send_to_device(world.bot, message)
    assert await catch_ups(world) == quiet + 3
    await catch_ups(world)
    assert world.server.to_device[world.bot] == []
