"""A room of three thousand devices: everybody gets the key, in batches, and a kill in the middle
costs only the batch that was under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.adapter.matrix.crypto.machine import BATCH
from antiphon.adapter.matrix.crypto.values import RoomSettings
from antiphon.testing.crypto_crowd import crowd
from antiphon.testing.crypto_directory import KilledError
from antiphon.testing.crypto_world import World

ROOM = "!room:x"
ANN, BEN = "@ann:x", "@ben:x"
PEOPLE, EACH = 300, 10


async def test_three_thousand_devices_get_the_key_though_the_writer_is_killed(
    tmp_path: Path,
) -> None:
    async with World(tmp_path) as world:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        members = [ANN, BEN, *crowd(world.directory, PEOPLE, EACH)]
        world.directory.requests.clear()
        ann.steps.taken, ann.steps.kill_at = 0, 60
        with pytest.raises(KilledError):
            await ann.ready(ROOM, members)
        await ann.open()
        before = len(world.directory.sent)
        assert BATCH <= before < PEOPLE * EACH
        event = await ann.write(ROOM, "to you all", members)
        served = [(owner, name) for _, owner, name, _ in world.directory.sent]
        assert set(served) == {
            (BEN, "B"),
            *((user_id, f"D{number}") for user_id in members[2:] for number in range(EACH)),
        }
        assert len(served) - len(set(served)) <= BATCH
        assert world.directory.requests.count("send") <= PEOPLE * EACH // BATCH + 2
        await ben.sync()
        assert await ben.read(ROOM, event) == "to you all"
        world.directory.requests.clear()
        await ann.write(ROOM, "and again", members)
        assert world.directory.requests == []
        strict = RoomSettings(only_cross_signed=True)
        assert len((await ann.ready(ROOM, members, strict)).missing) == PEOPLE * EACH + 1
