"""What was read once is never another event, though what is kept of it grows with the number of
sessions alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from antiphon.adapter.matrix.crypto import index_ranges
from antiphon.adapter.matrix.crypto.store.replays import CLOSED_AFTER_MS
from antiphon.adapter.matrix.crypto.store.schema import replay, replay_closed
from antiphon.testing.crypto_world import Someone, World

ROOM = "!room:x"
ANN, BEN = "@ann:x", "@ben:x"
LONG = CLOSED_AFTER_MS / 1000 + 1


@given(st.lists(st.sets(st.integers(0, 40)), max_size=6))
def test_ranges_hold_what_was_added_and_nothing_else(added: list[set[int]]) -> None:
    ranges, all_of_them = "", set[int]()
    for numbers in added:
        ranges = index_ranges.added(ranges, numbers)
        all_of_them |= numbers
    assert {n for n in range(45) if index_ranges.contains(ranges, n)} == all_of_them


def test_a_run_of_messages_is_one_range() -> None:
    ranges = index_ranges.added("", range(1000))
    assert ranges == "0-999"
    assert index_ranges.added(ranges, [1000, 1002]) == "0-1000,1002"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as made:
        yield made


async def said(world: World, count: int) -> tuple[Someone, Someone, list[dict[str, Any]]]:
    """Ben writes; Ann has the key, and has read all but the last."""
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    events = [await ben.write(ROOM, f"{number}", [ANN, BEN]) for number in range(count)]
    await ann.sync()
    for number, event in enumerate(events[:-1]):
        assert await ann.read(ROOM, event) == f"{number}"
    return ann, ben, events


async def rows(someone: Someone) -> tuple[int, int]:
    """How many rows are kept of open and of closed sessions."""
    return await someone.store.read(
        lambda c: (
            int(c.execute(select(func.count()).select_from(replay)).scalar_one()),
            int(c.execute(select(func.count()).select_from(replay_closed)).scalar_one()),
        )
    )


async def test_a_month_later_one_row_is_left_and_a_replay_is_refused_still(world: World) -> None:
    ann, _, events = await said(world, 6)
    assert await ann.machine.close_replays() == 0  # too early
    assert await rows(ann) == (5, 0)
    await world.clock.advance(LONG)
    assert await ann.machine.close_replays() == 1
    assert await ann.machine.close_replays() == 0
    assert await rows(ann) == (0, 1)
    for event in events[:-1]:
        again = await ann.unreadable(ROOM, {**event, "event_id": "$again"})
        assert (again.reason, again.may_pass) == ("replay", False)


async def test_what_never_came_is_still_read_later_and_once(world: World) -> None:
    """A message that was held back for longer than that is read, as one event."""
    ann, _, events = await said(world, 6)
    await world.clock.advance(LONG)
    assert await ann.machine.close_replays() == 1
    assert await ann.read(ROOM, events[-1]) == "5"
    assert await ann.read(ROOM, events[-1]) == "5"
    assert (await ann.unreadable(ROOM, {**events[-1], "event_id": "$x"})).reason == "replay"
    await world.clock.advance(LONG)
    assert await ann.machine.close_replays() == 1
    assert await rows(ann) == (0, 1)
    for event in events:
        assert (await ann.unreadable(ROOM, {**event, "event_id": "$x"})).reason == "replay"


async def test_a_session_that_is_in_use_is_not_closed(world: World) -> None:
    ann, _, events = await said(world, 3)
    await world.clock.advance(LONG)
    assert await ann.read(ROOM, events[-1]) == "2"
    assert await ann.machine.close_replays() == 0
    assert await ann.read(ROOM, events[0]) == "0"


async def test_only_so_many_at_a_time(world: World) -> None:
    ann, ben = await world.join(ANN, "A"), await world.join(BEN, "B")
    for number in range(5):
        event = await ben.write(f"!{number}:x", "x", [ANN, BEN])
        await ann.sync()
        await ann.read(f"!{number}:x", event)
    await world.clock.advance(LONG)
    assert [await ann.machine.close_replays(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_rows_of_an_older_version_count_as_new(world: World) -> None:
    """What was read just before the update can be read again just after it."""
    ann, _, events = await said(world, 3)
    await ann.store.write(lambda c: c.execute(update(replay).values(used_ms=None)))
    await world.clock.advance(LONG)
    assert await ann.machine.close_replays() == 0
    assert await ann.read(ROOM, events[0]) == "0"
    await world.clock.advance(LONG)
    assert await ann.machine.close_replays() == 1
