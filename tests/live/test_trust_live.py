"""Who is trusted, with an independent client (matrix-js-sdk, Rust crypto) on a real homeserver:
both sides in the mode for signed devices alone, a device that nobody signed, another identity."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from antiphon.adapter.matrix.verify_call import Call
from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.js_client import JsClient, another_device, js_client
from antiphon.testing.js_values import JsMessage
from antiphon.testing.world import until

pytestmark = pytest.mark.usefixtures("js")


class Trusting:
    """A bot, and Ada, whose device her identity signed, in an encrypted room with it."""

    def __init__(self, house: House, ada: JsClient, room: str):
        self.house = house
        self.ada = ada
        self.room = room

    def bodies(self, shown: tuple[JsMessage, ...]) -> list[str]:
        """What the bot's messages show in the end."""
        return [m.body for m in shown if m.sender == self.house.bot.user_id]

    async def shows(self, *ends: str, client: JsClient | None = None) -> None:
        """Waits until the bot's messages end with these texts, in order, and are no more."""

        def done(shown: tuple[JsMessage, ...]) -> bool:
            bodies = self.bodies(shown)
            return len(bodies) == len(ends) and all(
                body.endswith(end) for body, end in zip(bodies, ends, strict=True)
            )

        await (client or self.ada).until(self.room, done, 40)

    def logged(self, event: str) -> int:
        """How often the adapter's log has this."""
        lines = self.house.pair.adapter.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return sum(line["event"] == event for line in found)

    async def until_logged(self, event: str, times: int = 1) -> None:
        await until(lambda: self.logged(event) >= times, 20)


@pytest.fixture
def trusting(synapse: Synapse, tmp_path: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def opened(*, strict: bool) -> AsyncIterator[Trusting]:
        async with AsyncExitStack() as stack:
            house = House(synapse, stack, tmp_path)
            house.model.words, house.model.gap = 8, 0
            await house.open(ONLY_CROSS_SIGNED=str(strict).lower())
            ada = await stack.enter_async_context(js_client(synapse, "ada"))
            room = await ada.room(house.bot.user_id)
            await ada.joined_by(room, house.bot.user_id)
            if strict:
                await ada.only_signed_devices()
                await ada.until_devices(
                    house.bot.user_id, lambda d: any(x.signed_by_owner for x in d.values())
                )
            yield Trusting(house, ada, room)

    return opened


async def test_both_trust_signed_devices_alone_and_edits_stream(trusting: Callable) -> None:  # type: ignore[type-arg]
    async with trusting(strict=True) as of:
        of.house.model.words, of.house.model.gap = 40, 0.08
        await of.ada.say(of.room, "Q-1 please")
        await of.shows("END:Q-1")
        await of.ada.say(of.room, "Q-2 please")
        await of.shows("END:Q-1", "END:Q-2")
        shown = [m for m in await of.ada.messages(of.room) if m.sender != of.ada.user_id]
        for message in shown:
            assert message.encrypted
            assert message.readable
            assert message.shield_reason != "unsigned_device"
            # Each state that was shown on the way could be read, and grew.
            assert len(message.texts) >= 3
            assert all(message.texts)
            assert [len(text) for text in message.texts] == sorted(map(len, message.texts))
        assert await of.ada.undecrypted(of.room) == ()
        assert of.logged("unreadable") == 0


async def test_a_device_that_nobody_signed_gets_no_keys_and_no_answer(trusting: Callable) -> None:  # type: ignore[type-arg]
    async with trusting(strict=True) as of:
        await of.ada.say(of.room, "Q-1 please")
        await of.shows("END:Q-1")
        async with another_device(of.ada) as stranger:
            await stranger.say(of.room, "Q-2 please")
            await of.until_logged("sender_not_trusted")
            await of.ada.say(of.room, "Q-3 please")
            await of.shows("END:Q-1", "END:Q-3")
            shown = await stranger.until(
                of.room,
                lambda shown: any(
                    m.failure == "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
                    for m in shown
                    if m.sender == of.house.bot.user_id
                ),
            )
            assert not any("END:Q-3" in m.body for m in shown)


async def test_a_changed_identity_is_not_listened_to_until_it_is_verified(
    trusting: Callable,  # type: ignore[type-arg]
) -> None:
    async with trusting(strict=True) as of:
        await of.ada.say(of.room, "Q-1 please")
        await of.shows("END:Q-1")
        await of.ada.cross_sign(anew=True)
        await of.until_logged("identity_changed")
        await of.ada.say(of.room, "Q-2 please")
        await of.until_logged("sender_not_trusted")
        await of.until_logged("identity_change_told")
        with await asyncio.to_thread(Call, of.house.folder / "state") as call:
            call.ask(of.ada.user_id, of.room)
            assert await asyncio.to_thread(call.news) == {"event": "asked"}
            asked = await of.ada.asked()
            await asked.accept()
            await asked.emoji()
            await asyncio.to_thread(call.news)
            await asked.confirm()
            call.word(same=True)
            assert (await asyncio.to_thread(call.news))["event"] == "done"
        assert (await asked.over()).phase == "done"
        await of.ada.say(of.room, "Q-3 please")

        def answered(shown: tuple[JsMessage, ...]) -> bool:
            return any(body.endswith("END:Q-3") for body in of.bodies(shown))

        shown = await of.ada.until(of.room, answered, 40)
        assert not any("END:Q-2" in body for body in of.bodies(shown))
        assert of.logged("identity_change_told") == 1


@pytest.mark.slow
async def test_where_all_devices_count_a_changed_identity_is_said_once_and_answered(
    trusting: Callable,  # type: ignore[type-arg]
) -> None:
    async with trusting(strict=False) as of:
        await of.ada.say(of.room, "Q-1 please")
        await of.shows("END:Q-1")
        await of.ada.cross_sign(anew=True)
        await of.until_logged("identity_changed")
        await of.ada.say(of.room, "Q-2 please")
        await of.until_logged("identity_change_told")
        await of.ada.say(of.room, "Q-3 please")

        def all_there(shown: tuple[JsMessage, ...]) -> bool:
            return any(body.endswith("END:Q-3") for body in of.bodies(shown))

        bodies = of.bodies(await of.ada.until(of.room, all_there, 40))
        assert sum("is another one than I knew before" in body for body in bodies) == 1
        assert [body.split()[-1] for body in bodies if "END:" in body] == [
            "END:Q-1",
            "END:Q-2",
            "END:Q-3",
        ]
        assert of.logged("identity_change_told") == 1
