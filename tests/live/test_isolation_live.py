"""One room, two people, each with a memory of their own, on a real homeserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.live import live_user


@pytest.fixture
async def house(synapse: Synapse, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        yield House(synapse, stack, tmp_path)


@pytest.mark.slow
async def test_each_person_in_a_room_is_remembered_alone(house: House, synapse: Synapse) -> None:
    """The room's moderator sets it by command; a restart keeps it; who did not say a name has
    none, though it stands in the room."""
    pair = await house.open()
    ada, room = await house.person("ada")
    async with live_user(synapse, "bob") as bob:
        await ada.client.invite(room, bob.user_id)
        await bob.client.join(room)
        await ada.say(room, "!settings isolation user for room")
        told = "New conversations begin with the next question."
        await house.answered(ada, room, told)
        await ada.say(room, "My name is Ada.")
        await house.answered(ada, room, told, "END:Q-none")
        await pair.adapter.stop()
        await pair.adapter.start()
        await bob.say(room, "What is my name?")
        unknown = "You have not told me your name."
        await house.answered(ada, room, told, "END:Q-none", unknown)
        await ada.say(room, "What is my name?")
        known = "Your name is Ada."
        await house.answered(ada, room, told, "END:Q-none", unknown, known)
        await bob.say(room, "!settings isolation room for room")
        refused = "may set `isolation` for the room."
        await house.answered(bob, room, told, "END:Q-none", unknown, known, refused)
