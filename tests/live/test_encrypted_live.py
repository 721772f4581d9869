"""Encrypted rooms with an independent client (matrix-js-sdk, Rust crypto) on a real homeserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.js_client import JsClient, another_device, js_client
from antiphon.testing.js_values import JsMessage

pytestmark = pytest.mark.usefixtures("js")


class SealedHouse:
    """A bot, and Ada with an encrypting client in an encrypted room with it."""

    def __init__(self, house: House, ada: JsClient, room: str):
        self.house = house
        self.ada = ada
        self.room = room

    def of_bot(self, messages: tuple[JsMessage, ...]) -> list[str]:
        return [m.body for m in messages if m.sender == self.house.bot.user_id]

    async def answered(self, *ends: str, client: JsClient | None = None) -> list[str]:
        """Waits until the bot's messages end with these texts, in order."""

        def done(messages: tuple[JsMessage, ...]) -> bool:
            bodies = self.of_bot(messages)
            return len(bodies) >= len(ends) and all(
                body.endswith(end) for body, end in zip(bodies, ends, strict=False)
            )

        return self.of_bot(await (client or self.ada).until(self.room, done, 30))

    async def nothing_is_unreadable(self) -> None:
        assert await self.ada.undecrypted(self.room) == ()
        for event in await self.ada.events(self.room):
            if event.sender == self.house.bot.user_id and event.type == "m.room.message":
                assert event.encrypted, event


@pytest.fixture
async def sealed(synapse: Synapse, tmp_path: Path) -> AsyncIterator[SealedHouse]:
    async with AsyncExitStack() as stack:
        house = House(synapse, stack, tmp_path)
        house.model.gap = 0
        await house.open()
        ada = await stack.enter_async_context(js_client(synapse, "ada"))
        room = await ada.room(house.bot.user_id)
        await ada.joined_by(room, house.bot.user_id)
        yield SealedHouse(house, ada, room)


async def test_a_conversation_with_streamed_edits(sealed: SealedHouse) -> None:
    sealed.house.model.gap = 0.05
    await sealed.ada.say(sealed.room, "Q-1 please")
    await sealed.answered("END:Q-1")
    await sealed.ada.say(sealed.room, "Q-2 please")
    await sealed.answered("END:Q-1", "END:Q-2")
    assert any(
        m.edits for m in await sealed.ada.messages(sealed.room) if m.sender != sealed.ada.user_id
    )
    await sealed.nothing_is_unreadable()


async def test_killed_in_mid_answer_and_spoken_to_while_down(sealed: SealedHouse) -> None:
    sealed.house.model.words, sealed.house.model.gap = 60, 0.05
    await sealed.ada.say(sealed.room, "Q-1 please")
    await sealed.ada.until(sealed.room, lambda shown: bool(sealed.of_bot(shown)))
    await sealed.house.pair.adapter.kill()
    await sealed.ada.say(sealed.room, "Q-2 please")
    sealed.house.model.words, sealed.house.model.gap = 5, 0
    await sealed.house.pair.adapter.start()
    assert len(await sealed.answered("END:Q-1", "END:Q-2")) == 2
    await sealed.nothing_is_unreadable()


async def test_a_new_device_of_the_user_reads_and_asks(sealed: SealedHouse) -> None:
    await sealed.ada.say(sealed.room, "Q-1 please")
    await sealed.answered("END:Q-1")
    async with another_device(sealed.ada) as phone:
        await phone.say(sealed.room, "Q-2 please")
        await sealed.answered("END:Q-1", "END:Q-2")
        await phone.until(
            sealed.room, lambda shown: any(b.endswith("END:Q-2") for b in sealed.of_bot(shown))
        )
    await sealed.nothing_is_unreadable()


async def test_a_member_who_joins_later_reads_only_what_is_new(sealed: SealedHouse) -> None:
    room = await sealed.ada.room(sealed.house.bot.user_id, history="joined")
    await sealed.ada.joined_by(room, sealed.house.bot.user_id)
    sealed.room = room
    await sealed.ada.say(room, "Q-1 please")
    await sealed.answered("END:Q-1")
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(js_client(sealed.house.synapse, "bob"))
        await sealed.ada.invite(room, bob.user_id)
        await bob.join(room)
        await sealed.ada.joined_by(room, bob.user_id)
        await sealed.ada.say(room, "Q-2 please")
        await sealed.answered("END:Q-1", "END:Q-2")
        shown = await bob.until(
            room, lambda shown: any(b.endswith("END:Q-2") for b in sealed.of_bot(shown))
        )
        assert not any("END:Q-1" in message.body for message in shown)
    await sealed.nothing_is_unreadable()
