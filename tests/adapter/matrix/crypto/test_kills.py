"""A device is killed between any commit and its effect, and opened again on the same store: nobody
misses a message, no ratchet goes back, and what the homeserver delivers may be lost, repeated and
come in any order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.adapter.matrix.crypto.values import Decrypted, RoomSettings, Unreadable
from antiphon.errors import HomeserverUnreachableError
from antiphon.testing.crypto_directory import KilledError
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN, CAT = "@ann:x", "@ben:x", "@cat:y"


def lives(scenario: Callable[[World], Awaitable[None]]) -> None:
    """Runs a scenario in a world of its own."""

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with World(Path(folder)) as world:
                await scenario(world)

    asyncio.run(run())


async def until_done(someone: Someone, kills: list[int], work: Callable[[], Awaitable[Any]]) -> Any:
    """Does the work, killed after so many steps each time, and done over by the next process."""
    while True:
        someone.steps.taken = 0
        someone.steps.kill_at = kills.pop() if kills else None
        try:
            return await work()
        except KilledError:
            await someone.open()
        finally:
            someone.steps.kill_at = None


async def _write(who: Someone, text: str, people: list[str], plan: RoomSettings) -> Any:
    return await who.write(ROOM, text, people, plan)


async def _decrypt(who: Someone, event: dict[str, Any]) -> Any:
    return await who.crypto.decrypt(ROOM, event)


async def read_all(readers: list[Someone], events: list[tuple[str, dict[str, Any]]]) -> None:
    """A ratchet that went back would show too: its second message would be a replay."""
    for reader in readers:
        await reader.sync()
        for text, event in events:
            assert await reader.read(ROOM, event) == text, reader.user_id


kills = st.lists(st.integers(1, 30), max_size=6)


@settings(max_examples=25, deadline=None)
@given(kills=kills, members=st.lists(st.booleans(), min_size=1, max_size=3))
def test_a_writer_that_is_killed_anywhere_is_read_by_everybody(
    kills: list[int], members: list[bool]
) -> None:
    """While people come and go: who is a member reads the message, who is not does not."""

    async def scenario(world: World) -> None:
        left = list(kills)
        ann, ben, cat = [await world.join(*w) for w in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
        kept: list[tuple[str, dict[str, Any]]] = []
        with_cat: list[tuple[str, dict[str, Any]]] = []
        without: list[dict[str, Any]] = []
        plan = RoomSettings(rotation_period_msgs=3)
        for number, there in enumerate([*members, True, False]):
            people = [ANN, BEN, CAT] if there else [ANN, BEN]
            text = f"message {number}"
            event = await until_done(ann, left, partial(_write, ann, text, people, plan))
            kept.append((text, event))
            if there:
                with_cat.append((text, event))
            else:
                without.append(event)
        await read_all([ben, ann], kept)
        await read_all([cat], with_cat)
        for event in without:
            assert (await cat.unreadable(ROOM, event)).reason == "no_key"

    lives(scenario)


@settings(max_examples=25, deadline=None)
@given(kills=kills, rounds=st.integers(1, 4))
def test_a_reader_that_is_killed_anywhere_reads_everything(kills: list[int], rounds: int) -> None:
    """What the homeserver gave is given again until the process has lived through it."""

    async def scenario(world: World) -> None:
        left = list(kills)
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        events = []
        for number in range(rounds):
            text = f"message {number}"
            # A new session each time, so that each message needs what came to the device.
            await world.clock.advance(8 * 24 * 3600)
            events.append((text, await ann.write(ROOM, text, [ANN, BEN])))
            queue = list(ben.mine.queue)

            async def sync() -> None:
                await ben.sync(keep=True)

            await until_done(ben, left, sync)
            assert ben.mine.queue == queue
            ben.mine.queue.clear()
            event = events[-1][1]
            found = await until_done(ben, left, partial(_decrypt, ben, event))
            assert isinstance(found, Decrypted)
        await read_all([ben], events)

    lives(scenario)


@settings(max_examples=6, deadline=None)
@given(kills=kills)
def test_a_newcomer_that_is_killed_anywhere_has_keys_that_work(kills: list[int]) -> None:
    """From its very first step: what it published can be used by others."""

    async def scenario(world: World) -> None:
        left = list(kills)
        ann = await world.join(ANN, "A")
        ben = Someone(world, f"sqlite:///{world.folder / 'ben.db'}", BEN, "B")
        world.directory.of(BEN, "B")
        world.people.append(ben)
        await ben.open()
        await until_done(ben, left, lambda: ben.crypto.settle())
        await ann.sync()
        for number in range(30):  # more than one stock of one-time keys
            ann.mine.txns.clear()
            room = f"!{number}:x"
            device = await world.join(CAT, f"C{number}") if number < 3 else ann
            event = await device.write(room, "hello", [BEN])
            await until_done(ben, left, ben.sync)
            assert await ben.read(room, event) == "hello"

    lives(scenario)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_deliveries_may_be_repeated_and_come_in_any_order(data: st.DataObject) -> None:
    """Nothing of that shows: whoever has the keys reads, once they are there."""

    async def scenario(world: World) -> None:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        events = []
        for number in range(data.draw(st.integers(1, 5))):
            await world.clock.advance(8 * 24 * 3600)
            events.append((f"{number}", await ann.write(ROOM, f"{number}", [ANN, BEN])))
        queue = data.draw(st.permutations(ben.mine.queue))
        queue += data.draw(st.lists(st.sampled_from(queue), max_size=4))
        cut = data.draw(st.integers(0, len(queue)))
        for part in (queue[:cut], queue[cut:], queue):
            ben.mine.queue = list(part)
            await ben.sync()
        await read_all([ben], events)

    lives(scenario)


@settings(max_examples=8, deadline=None)
@given(lost=st.lists(st.booleans(), min_size=3, max_size=8))
def test_a_lost_key_is_lost_for_its_session_only(lost: list[bool]) -> None:
    """Messages to devices that never arrive make unreadable what they were for, and no more."""

    async def scenario(world: World) -> None:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        for number, away in enumerate(lost):
            await world.clock.advance(8 * 24 * 3600)
            event = await ann.write(ROOM, f"{number}", [ANN, BEN])
            if away:
                ben.mine.queue.clear()
            await ben.sync()
            found = await ben.crypto.decrypt(ROOM, event)
            if away:
                assert isinstance(found, Unreadable)
                assert (found.reason, found.may_pass) == ("no_key", True)
            else:
                assert isinstance(found, Decrypted)

    lives(scenario)


async def test_answers_that_are_lost_change_nothing(tmp_path: Path) -> None:
    """Each request is taken and its answer lost: the next try comes to the same end."""
    async with World(tmp_path) as world:
        ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
        world.directory.lose_answers.add(ANN)
        for _ in range(3):
            with pytest.raises(HomeserverUnreachableError):
                await ann.write(ROOM, "x", [ANN, BEN])
        world.directory.lose_answers.clear()
        for _ in range(2):
            event = await ann.write(ROOM, "x", [ANN, BEN])
        world.directory.lose_answers.add(ANN)
        await world.clock.advance(8 * 24 * 3600)
        with pytest.raises(HomeserverUnreachableError):
            await ann.write(ROOM, "x", [ANN, BEN])
        world.directory.lose_answers.clear()
        after = await ann.write(ROOM, "y", [ANN, BEN])
        await ben.sync()
        assert await ben.read(ROOM, event) == "x"
        assert await ben.read(ROOM, after) == "y"


async def test_who_may_have_got_the_key_and_leaves_makes_a_new_one_due(tmp_path: Path) -> None:
    """Killed after the key left and before that was noted: it counts as given."""
    async with World(tmp_path) as world:
        ann, _, cat = [await world.join(*w) for w in ((ANN, "A"), (BEN, "B"), (CAT, "C"))]
        await ann.ready("!before:x", [ANN, BEN, CAT])
        gotten = 0
        for step in range(1, 12):
            room = f"!{step}:x"
            cat.mine.queue.clear()
            ann.steps.taken, ann.steps.kill_at = 0, step
            with suppress(KilledError):
                await ann.ready(room, [ANN, BEN, CAT])
            await ann.open()
            given = bool(cat.mine.queue)
            gotten += given
            assert (await ann.ready(room, [ANN, BEN])).rotated in (
                ("left",) if given else ("left", "first", "")
            )
            event = await ann.write(room, "without you", [ANN, BEN])
            await cat.sync()
            assert (await cat.unreadable(room, event)).reason == "no_key"
        assert 0 < gotten < 11
