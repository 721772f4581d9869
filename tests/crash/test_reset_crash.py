"""A reset that is killed at each of its crash points, and then run again: the same end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.crash_points import crash_points
from antiphon.testing.house import House
from antiphon.testing.processes import Ended

OF_DEVICES = {"reset.logged_out"}
OF_SERVERS = {"reset.room_left", "reset.rooms_closed"}
ALL = [*sorted(p.name for p in crash_points() if p.name.startswith("reset.")), "debt.told"]
CASES = [("local-only", name) for name in ALL if name not in OF_SERVERS] + [
    ("server-leave-forget", name) for name in ALL if name not in OF_DEVICES
]
ALWAYS = (("server-leave-forget", "reset.room_left"),)
"""In every run; the others are slow."""


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


def rows(house: House, database: str, *tables: str) -> dict[str, int]:
    """How many rows are in these tables."""
    with closing(sqlite3.connect(house.folder / "state" / database)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }


@pytest.mark.parametrize(
    ("mode", "point"),
    [pytest.param(*case, marks=() if case in ALWAYS else pytest.mark.slow) for case in CASES],
)
async def test_killed_and_run_again_it_ends_in_the_same_state(
    house: House, mode: str, point: str
) -> None:
    house.model.words, house.model.gap = 400, 0.05
    pair = await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "Q-1 at length")
    await ada.until(room, lambda shown: bool(house.answers(shown)))
    await pair.adapter.kill()
    before = {event.event_id for event in await ada.history(room)}

    async def reset() -> Ended:
        flags = ["--mode", mode, "--yes", "--json", "--no-backup"]
        flags += ["--include-device"] if point in OF_DEVICES else []
        return await pair.adapter.once("matrix", "reset", *flags)

    pair.adapter.set(ANTIPHON_CRASH=point)
    killed = await reset()
    assert killed.code == -9, killed.err
    pair.adapter.set(ANTIPHON_CRASH="")
    if point != "reset.done":
        refused = await pair.adapter.once("matrix", "reconcile")
        assert refused.code == 2
        assert f"antiphon matrix reset --mode {mode}" in refused.err
    done = await reset()
    assert done.code == 0, done.err
    assert json.loads(done.out)["result"]["owed"] == 0
    gone = rows(house, "matrix.db", "turn", "outbox", "own_event", "gap", "debt")
    assert set(gone.values()) == {0}, gone
    assert rows(house, "state.db", "chats", "sessions") == {"chats": 0, "sessions": 0}
    assert rows(house, "agent.db", "threads", "runs") == {"threads": 0, "runs": 0}
    inside = (room,) if mode == "local-only" else ()
    assert await house.bot.client.joined_rooms() == inside
    assert not (house.folder / "state" / "matrix-reset.json").exists()
    request = house.model.requests[0]
    assert request.ended.is_set()
    after = [event for event in await ada.history(room) if event.event_id not in before]
    assert [event.type for event in after] == ["m.room.member"] * (mode != "local-only")
