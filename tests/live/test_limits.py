"""With an unprepared homeserver's limits (real `rc_message`): all answers come, edits are shed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.settings import MatrixSettings
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.history import Shown
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.platform import FakePlatform


def ending_with(text: str) -> Callable[[tuple[Shown, ...]], bool]:
    return lambda shown: shown[-1].body == text


@pytest.mark.slow
async def test_default_limits_shed_edits_and_lose_no_final(
    synapse_limited: Synapse, tmp_path: Path
) -> None:
    platform = FakePlatform()
    async with AsyncExitStack() as stack:
        bot = await stack.enter_async_context(live_user(synapse_limited, "bot"))
        token = (
            await bot.client.login_password(
                bot.user_id, bot.password, device_id=bot.device_id, device_name="Test"
            )
        ).access_token
        adapter = AdapterUnderTest(
            synapse_limited.url,
            bot.user_id,
            token,
            platform,
            tmp_path,
            settings=MatrixSettings(allow=("*",), edit_interval_s=0.2),
            device_id=bot.device_id,
        )
        await stack.enter_async_context(adapter.running())

        async def ask(number: int) -> tuple[Shown, ...]:
            person: LiveUser = await stack.enter_async_context(live_user(synapse_limited, "ada"))
            room = await person.room(bot.user_id)
            await person.joined_by(room, bot.user_id, 60)
            answers: list[tuple[Shown, ...]] = []
            for question in ("one", "two"):
                await person.say(room, f"{question} {number}")
                ends = ending_with(f"You said: {question} {number}")
                answers.append(await person.until(room, ends, 90))
            return answers[-1]

        rooms = await asyncio.gather(*(ask(number) for number in range(4)))
    for number, shown in enumerate(rooms):
        bodies = [m.body for m in shown if m.sender == bot.user_id]
        assert bodies == [f"You said: one {number}", f"You said: two {number}"]
