"""A bot that moves to another machine: its state folder is copied, and it goes on."""

from __future__ import annotations

import json
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.processes import Pair


def device(state: Path) -> str:
    return str(json.loads((state / "matrix-login.json").read_text())["device_id"])


@pytest.mark.slow
async def test_from_a_copy_of_its_state_it_goes_on_with_its_memory_and_device(
    synapse: Synapse, tmp_path: Path
) -> None:
    """What was asked on the way is answered, and nothing twice."""
    async with AsyncExitStack() as stack:
        (tmp_path / "old").mkdir()
        (tmp_path / "new").mkdir()
        house = House(synapse, stack, tmp_path / "old")
        pair = await house.open()
        ada, room = await house.person("ada")
        await ada.say(room, "My name is Ada. Q-1")
        await house.answered(ada, room, "END:Q-1")
        await pair.stop()
        await ada.say(room, "What is my name?")

        moved = tmp_path / "new" / "state"
        shutil.copytree(pair.state, moved)
        was = device(pair.state)
        shutil.rmtree(pair.state)
        there = Pair(
            tmp_path / "new",
            homeserver=synapse.url,
            user=house.bot.user_id,
            password="not needed: the login is in the state",
            agent={"MODEL": "openai:fake", "BASE_URL": house.model.url, "API_KEY": "key"},
        )
        async with there:
            await house.answered(ada, room, "END:Q-1", "Your name is Ada.")
            await ada.say(room, "Q-2")
            bodies = await house.answered(ada, room, "END:Q-1", "Your name is Ada.", "END:Q-2")
        assert len(bodies) == 3
        assert device(moved) == was
