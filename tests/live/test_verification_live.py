"""Verification with an independent client (matrix-js-sdk, Rust crypto) on a real homeserver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.verify_call import Call
from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.js_client import JsClient, js_client
from antiphon.testing.js_trust import Verifying

pytestmark = pytest.mark.usefixtures("js")


class VerifyingHouse:
    """A bot, and Ada with an identity of her own in an encrypted room with it."""

    def __init__(self, house: House, ada: JsClient, room: str):
        self.house = house
        self.ada = ada
        self.room = room

    async def device(self) -> str:
        """The bot's device, once it has published its keys."""
        found = await self.ada.until_devices(self.house.bot.user_id, bool)
        return next(name for name, device in found.items() if device.ed25519)

    async def ask(self, *, in_room: bool) -> Verifying:
        if in_room:
            return await self.ada.verify(self.house.bot.user_id, room_id=self.room)
        return await self.ada.verify(self.house.bot.user_id, device_id=await self.device())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The adapter's log lines of this name."""
        lines = self.house.pair.adapter.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    async def answers(self, name: str) -> None:
        """An ordinary question is answered, in this room, encrypted."""
        await self.ada.say(self.room, f"{name} please")
        await self.ada.until(
            self.room,
            lambda shown: any(
                m.sender == self.house.bot.user_id and m.body.endswith(f"END:{name}") for m in shown
            ),
            30,
        )

    async def bodies(self) -> list[str]:
        shown = await self.ada.messages(self.room)
        return [m.body for m in shown if m.sender == self.house.bot.user_id]


@pytest.fixture
async def verifying(synapse: Synapse, tmp_path: Path) -> AsyncIterator[VerifyingHouse]:
    async with AsyncExitStack() as stack:
        house = House(synapse, stack, tmp_path)
        house.model.gap = 0
        await house.open()
        ada = await stack.enter_async_context(js_client(synapse, "ada"))
        await ada.cross_sign()
        room = await ada.room(house.bot.user_id)
        await ada.joined_by(room, house.bot.user_id)
        await ada.until_identity(house.bot.user_id, lambda identity: identity.has_keys)
        made = VerifyingHouse(house, ada, room)
        await made.answers("Q-0")
        yield made


@pytest.mark.parametrize("in_room", [False, True], ids=["to-device", "in a room"])
async def test_a_person_verifies_the_bot(verifying: VerifyingHouse, in_room: bool) -> None:
    """Both sides show the same, both get done, and nobody at the bot vouches for the person."""
    asked = await verifying.ask(in_room=in_room)
    await asked.start()
    emoji = await asked.emoji()
    await asked.confirm()
    state = await asked.over()
    assert state.phase == "done", state
    [shown] = verifying.logged("verification_compare")
    assert shown["emoji"] == " ".join(f"{e.symbol} {e.name}" for e in emoji)
    assert shown["decimals"] == " ".join(str(number) for number in state.decimals)
    device = (await verifying.ada.devices(verifying.house.bot.user_id))[await verifying.device()]
    assert device.verified
    await verifying.ada.until_identity(verifying.house.bot.user_id, lambda found: found.verified)
    await verifying.answers("Q-1")
    [done] = verifying.logged("verification_done")
    assert done["theirs_trusted"] is False
    notices = [body for body in await verifying.bodies() if body.startswith("Verification: ")]
    assert [shown["emoji"] in body for body in notices] == ([True] if in_room else [])
    assert len([b for b in await verifying.bodies() if "END:" in b]) == 2  # of two questions


@pytest.mark.slow
@pytest.mark.parametrize("in_room", [False, True], ids=["to-device", "in a room"])
async def test_a_mismatch_ends_it(verifying: VerifyingHouse, in_room: bool) -> None:
    asked = await verifying.ask(in_room=in_room)
    await asked.start()
    await asked.emoji()
    await asked.mismatch()
    state = await asked.over()
    assert (state.phase, state.cancel_code) == ("cancelled", "m.mismatched_sas")
    await verifying.answers("Q-1")
    [cancelled] = verifying.logged("verification_cancelled")
    assert (cancelled["code"], cancelled["by_us"]) == ("m.mismatched_sas", False)
    device = (await verifying.ada.devices(verifying.house.bot.user_id))[await verifying.device()]
    assert not device.verified


@pytest.mark.slow
@pytest.mark.parametrize("in_room", [False, True], ids=["to-device", "in a room"])
async def test_a_killed_bot_ends_what_was_open(verifying: VerifyingHouse, in_room: bool) -> None:
    """What it can't go on with it cancels once it is back, and answers as ever."""
    asked = await verifying.ask(in_room=in_room)
    await asked.until(lambda state: state.phase == "ready")
    await verifying.house.pair.adapter.kill()
    await verifying.house.pair.adapter.start()
    state = await asked.over()
    assert (state.phase, state.cancel_code) == ("cancelled", "m.user")
    assert state.cancelled_by == verifying.house.bot.user_id
    await verifying.answers("Q-1")
    again = await verifying.ask(in_room=in_room)
    await again.start()
    await again.emoji()
    await again.confirm()
    assert (await again.over()).phase == "done"


@pytest.mark.parametrize("in_room", [False, True], ids=["to-device", "in a room"])
async def test_the_bot_verifies_a_person(verifying: VerifyingHouse, in_room: bool) -> None:
    """By the word of somebody who can speak to the adapter's socket; then it vouches for them."""
    call = await asyncio.to_thread(Call, verifying.house.folder / "state")
    with call:
        call.ask(verifying.ada.user_id, verifying.room if in_room else None)
        assert await asyncio.to_thread(call.news) == {"event": "asked"}
        asked = await verifying.ada.asked()
        await asked.accept()
        emoji = await asked.emoji()
        shown = await asyncio.to_thread(call.news)
        assert shown["emoji"] == [[e.symbol, e.name] for e in emoji]
        await asked.confirm()
        assert verifying.logged("verification_done") == []
        call.word(same=True)
        end = await asyncio.to_thread(call.news)
        assert end == {"event": "done", "device": verifying.ada.device_id, "identity": True}
    assert (await asked.over()).phase == "done"
    [done] = verifying.logged("verification_done")
    assert done["theirs_trusted"] is True
    assert verifying.logged("user_not_signed") == []
    await verifying.answers("Q-1")


@pytest.mark.slow
async def test_in_a_room_without_encryption_nothing_is_said_of_it(
    verifying: VerifyingHouse,
) -> None:
    """It can be done there, too; what the bot shows stands in its log alone."""
    bot = verifying.house.bot.user_id
    verifying.room = await verifying.ada.room(bot, encrypted=False)
    await verifying.ada.joined_by(verifying.room, bot)
    asked = await verifying.ask(in_room=True)
    await asked.start()
    await asked.emoji()
    await asked.confirm()
    assert (await asked.over()).phase == "done"
    await verifying.answers("Q-1")
    assert [body for body in await verifying.bodies() if "END:Q-1" not in body] == []
