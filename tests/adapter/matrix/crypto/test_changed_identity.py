"""A person's identity that is another than before vouches for nothing, until a person here has
compared it: said once in the room, in the log and in the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from antiphon.adapter.matrix.beside import while_in
from antiphon.adapter.matrix.crypto.identity_notices import ANSWERED, REFUSED, IdentityNotices
from antiphon.adapter.matrix.crypto.room_cipher import NEVER, RoomCipher
from antiphon.adapter.matrix.crypto.room_facts import RoomFacts
from antiphon.adapter.matrix.crypto.upkeep import Upkeep
from antiphon.adapter.matrix.crypto.values import Decrypted, RoomSettings, Trust
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import RoomId
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN = "@ann:x", "@ben:x"
OLD, NEW = b"i" * 32, b"j" * 32
STRICT = RoomSettings(only_cross_signed=True)


class Scene:
    """Ann is the bot; Ben's identity is known to her, and signed his device."""

    def __init__(self, world: World, ann: Someone, ben: Someone):
        self.world = world
        self.ann = ann
        self.ben = ben
        self.said: list[tuple[str, str, str]] = []
        self.fails = 0

    async def changes(self) -> None:
        """Ben, or somebody in his place, makes another identity and signs his device with it."""
        self.world.directory.cross_sign(BEN, NEW)
        await self.ann.sync()

    async def master(self) -> str:
        """Ben's identity as it is now."""
        user = await self.ann.machine.user(BEN)
        assert user is not None
        assert user.master is not None
        return user.master

    async def message(self) -> dict[str, Any]:
        """Ben writes, and Ann has the key."""
        event = await self.ben.write(ROOM, "hello", [ANN, BEN])
        await self.ann.sync()
        return event

    async def trust(self) -> Trust:
        found = await self.ann.crypto.decrypt(ROOM, await self.message())
        assert isinstance(found, Decrypted)
        return found.trust

    async def gets_keys(self) -> bool:
        """Whether Ben's device is given keys where only signed devices are."""
        ready = await self.ann.ready(ROOM, [ANN, BEN], STRICT)
        return not [problem for problem in ready.missing if problem.user_id == BEN]

    async def say(self, room_id: str, text: str, txn_id: str) -> bool:
        """The room, as far as the notices see it."""
        self.said.append((room_id, text, txn_id))
        self.fails -= 1
        return self.fails < 0

    def notices(self, *, strict: bool = True, allowed: bool = True) -> IdentityNotices:
        return IdentityNotices(
            self.ann.machine, self.say, lambda user_id: allowed, only_cross_signed=strict
        )

    async def told(self, notices: IdentityNotices) -> list[str]:
        """What is said of it when Ben writes."""
        before = len(self.said)
        notices.seen(BEN, ROOM)
        async with while_in(notices.run()):
            await asyncio.sleep(0.05)
        return [text for _, text, _ in self.said[before:]]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with World(tmp_path) as world:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        world.directory.cross_sign(BEN, OLD)
        await ann.machine.track([BEN])
        await ann.sync()
        yield Scene(world, ann, ben)


async def test_the_first_identity_is_taken_as_it_is(scene: Scene) -> None:
    assert await scene.trust() == "cross-signed"
    assert await scene.gets_keys()


async def test_another_one_vouches_for_no_device(scene: Scene) -> None:
    """Neither for who writes nor for who may read."""
    assert await scene.gets_keys()
    await scene.changes()
    assert await scene.trust() == "changed-identity"
    assert not await scene.gets_keys()


async def test_who_was_verified_is_not_trusted_with_another_one(scene: Scene) -> None:
    await scene.ann.machine.accept_identity(BEN, await scene.master())
    assert await scene.gets_keys()
    await scene.changes()
    assert await scene.trust() == "changed-identity"
    assert not await scene.gets_keys()


async def test_once_compared_it_counts_at_once(scene: Scene) -> None:
    """Without asking anybody anything."""
    await scene.changes()
    assert not await scene.gets_keys()
    await scene.ann.machine.accept_identity(BEN, await scene.master())
    device = await scene.ann.machine.device(BEN, "B")
    assert device is not None
    assert device.cross_signed
    assert await scene.trust() == "cross-signed"
    assert await scene.gets_keys()


async def test_the_old_one_counts_again_when_it_comes_back(scene: Scene) -> None:
    await scene.changes()
    scene.world.directory.cross_sign(BEN, OLD)
    await scene.ann.sync()
    assert await scene.trust() == "cross-signed"


async def test_what_was_compared_is_what_counts_not_what_the_homeserver_shows(
    scene: Scene,
) -> None:
    old = await scene.master()
    await scene.changes()
    await scene.ann.machine.accept_identity(BEN, old)
    assert await scene.trust() == "changed-identity"


async def test_it_is_said_once_in_the_room(scene: Scene) -> None:
    """And not again by the next life; but of the next change."""
    await scene.changes()
    [text] = await scene.told(scene.notices())
    assert BEN in text
    assert REFUSED in text
    assert await scene.told(scene.notices()) == []
    await scene.ann.open()
    assert await scene.told(scene.notices()) == []
    scene.world.directory.cross_sign(BEN, b"k" * 32)
    await scene.ann.sync()
    assert len(await scene.told(scene.notices())) == 1


async def test_what_could_not_be_said_is_said_with_the_next_message_as_the_same_event(
    scene: Scene,
) -> None:
    await scene.changes()
    scene.fails = 1
    notices = scene.notices(strict=False)
    for _ in range(3):
        await scene.told(notices)
    (_, text, first), (_, _, second) = scene.said
    assert ANSWERED in text
    assert first == second


async def test_nothing_is_said_of_who_may_not_talk_nor_of_an_identity_that_is_known(
    scene: Scene,
) -> None:
    assert await scene.told(scene.notices()) == []
    await scene.changes()
    assert await scene.told(scene.notices(allowed=False)) == []


class Backup:
    """Takes note of new sessions."""

    def __init__(self) -> None:
        self.standing: dict[str, float] = {}

    def new_sessions(self) -> None:
        """Nothing is backed up."""

    def on_standing(self, tell: Any) -> None:
        """It has nothing to tell."""

    def on_keys(self, wake: Any) -> None:
        """It finds none."""

    def look_again(self) -> None:
        """Nothing is looked at."""

    async def run(self) -> None:
        """Nothing is owed."""


async def test_who_was_never_looked_up_is_waited_for_and_not_skipped(tmp_path: Path) -> None:
    """The first message in a new room comes before anything is known of its sender's devices."""
    async with World(tmp_path) as world:
        ann, ben, cyd = (
            await world.join(ANN, "A"),
            await world.join(BEN, "B"),
            await world.join("@cyd:x", "C"),
        )
        world.directory.cross_sign(BEN, OLD)
        woken = asyncio.Event()
        cipher = cipher_of(ann, strict=True)
        cipher.on_keys(woken.set)
        events = []
        for sender in (ben, cyd):
            raw = await sender.write(ROOM, "hello", [ANN, BEN, "@cyd:x"])
            events.append(event_of(raw))
        await ann.sync(settle=False)
        for shown in await cipher.readable(RoomId(ROOM), events):
            assert shown.type == "m.room.encrypted"
        async with while_in(cipher.run()):
            await asyncio.wait_for(woken.wait(), 5)
        first, second = await cipher.readable(RoomId(ROOM), events)
        assert (first.type, first.content.get("body")) == ("m.room.message", "hello")
        assert second.type == NEVER  # looked up, and signed by nobody


async def test_whose_homeserver_is_away_is_waited_for_without_haste(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        ann, ben = await world.join(ANN, "A"), await world.join("@ben:away", "B")
        cipher = cipher_of(ann, strict=True)
        woken: list[None] = []
        cipher.on_keys(lambda: woken.append(None))
        event = event_of(await ben.write(ROOM, "hello", [ANN, "@ben:away"]))
        world.directory.failing.add("away")
        await ann.sync(settle=False)
        async with while_in(cipher.run()):
            for _ in range(3):
                [shown] = await cipher.readable(RoomId(ROOM), [event])
                assert shown.type == "m.room.encrypted"
                await asyncio.sleep(0.05)
        assert woken == []
        assert world.directory.requests.count("query") < 10


def cipher_of(someone: Someone, *, strict: bool) -> RoomCipher:
    return RoomCipher(
        someone.crypto,
        RoomFacts(cast("Any", None), only_cross_signed=strict),
        cast("Upkeep", Backup()),
        someone.user_id,
        someone.world.clock,
        only_cross_signed=strict,
    )


def event_of(raw: dict[str, Any]) -> Event:
    return Event(
        event_id=raw["event_id"],
        type="m.room.encrypted",
        sender=raw["sender"],
        content=raw["content"],
        origin_server_ts=0,
    )


@pytest.mark.parametrize("strict", [True, False])
async def test_only_where_signatures_count_is_it_not_answered(scene: Scene, strict: bool) -> None:
    """And it is counted, and said in the log."""
    cipher = cipher_of(scene.ann, strict=strict)
    standing: dict[str, float] = {}
    seen: list[tuple[str, str]] = []
    cipher.on_standing(standing.__setitem__)
    notices = scene.notices(strict=strict)
    notices.seen = lambda user_id, room_id: seen.append((user_id, room_id))  # type: ignore[method-assign]
    cipher.tell_with(notices, cast("Any", _NoRooms()))
    scene.world.directory.cross_sign(BEN, NEW)
    await scene.ann.sync(settle=False)
    with structlog.testing.capture_logs() as logs:
        async with while_in(cipher.run()):
            async with asyncio.timeout(5):
                while standing.get("identities_changed") != 1:
                    await asyncio.sleep(0.01)
        event = event_of(await scene.message())
        [shown] = await cipher.readable(RoomId(ROOM), [event])
    assert shown.type == (NEVER if strict else "m.room.message")
    assert shown.sealed is not strict
    assert seen == [(BEN, ROOM)]
    said = [line["event"] for line in logs]
    assert said.count("identity_changed") == 1
    assert ("sender_not_trusted" in said) is strict


class _NoRooms:
    def go_through(self, gate: Any) -> None:
        """Nothing is sent."""
