"""Backup and restore on real parts: the command line, a real homeserver, agent and adapter."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import pytest

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ThreadId
from antiphon.demo.synapse import Synapse
from antiphon.sdk.memories import open_memories
from antiphon.settings import AgentSettings, Secret
from antiphon.testing.house import House

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


async def test_a_lost_state_comes_back_with_its_memory_and_says_nothing_twice(
    house: House,
) -> None:
    """Talk, back up, talk on; then both databases are gone and the agent's thread is erased. After
    the restore the bot remembers what was in the backup, answers what came meanwhile, and repeats
    nothing."""
    house.model.gap = 0
    pair = await house.open()
    ada, room = await house.person("ada")
    await ada.say(room, "My name is Ada.")
    await house.answered(ada, room, "END:Q-none")
    written = await pair.adapter.once("matrix", "backup", "--json")
    assert written.code == 0, written.err
    backup = msgspec.json.decode(written.out)
    assert backup["counts"]["memories"] == 1

    await ada.say(room, "Q-1 after the backup")
    await house.answered(ada, room, "END:Q-none", "END:Q-1")
    refused = await pair.adapter.once("matrix", "restore", backup["path"], "--yes")
    assert (refused.code, "already runs" in refused.said) == (2, True)
    await pair.adapter.stop()
    kept = house.folder / "kept.backup"
    Path(backup["path"]).rename(kept)
    with closing(sqlite3.connect(pair.state / "state.db")) as state:
        (thread_id,) = state.execute("SELECT thread_id FROM sessions").fetchone()
    for name in ("matrix.db", "state.db"):
        for file in pair.state.glob(f"{name}*"):
            file.unlink()
    agent = AgentSettings(url=pair.agent.url, token=Secret(TOKEN))
    async with open_memories(agent, clock=SystemClock(), chance=SystemChance()) as there:
        await there.forget_thread(ThreadId(thread_id))

    asks = await pair.adapter.once("matrix", "restore", str(kept))
    assert (asks.code, "--yes" in asks.said) == (2, True)
    looked = await pair.adapter.once("matrix", "restore", str(kept), "--dry-run", "--json")
    assert msgspec.json.decode(looked.out)["plan"]["memories"]["from_backup"] == 1
    await ada.say(room, "What is my name?")
    restored = await pair.adapter.once("matrix", "restore", str(kept), "--yes")
    assert restored.code == 0, restored.err
    asked = len(house.model.requests)
    await pair.adapter.start()
    bodies = await house.answered(ada, room, "END:Q-none", "END:Q-1", "Your name is Ada.")
    assert len(bodies) == 3
    assert len(house.model.requests) == asked + 1
    await ada.say(room, "Q-2")
    bodies = await house.answered(
        ada, room, "END:Q-none", "END:Q-1", "Your name is Ada.", "END:Q-2"
    )
    assert len(bodies) == 4
