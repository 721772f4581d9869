"""The bot's own identity and its recovery, with the independent client (matrix-js-sdk)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.house import House
from antiphon.testing.js_client import JsClient, js_client, js_log_in
from antiphon.testing.js_values import JsMessage
from antiphon.testing.processes import Pair

pytestmark = pytest.mark.usefixtures("js")

KEY = re.compile(r"(?:[1-9A-HJ-NP-Za-km-z]{4} ){11}[1-9A-HJ-NP-Za-km-z]{4}")


class Home:
    """A bot with an identity, and Ada in an encrypted room with it."""

    def __init__(self, house: House, ada: JsClient, room: str):
        self.house = house
        self.ada = ada
        self.room = room

    @property
    def bot(self) -> str:
        return self.house.bot.user_id

    @property
    def device(self) -> str:
        return device_of(self.house.pair)

    async def answered(self, *ends: str) -> None:
        """Waits until the bot's messages end with these texts, in order."""

        def done(shown: tuple[JsMessage, ...]) -> bool:
            bodies = [m.body for m in shown if m.sender == self.bot]
            return len(bodies) == len(ends) and all(
                body.endswith(end) for body, end in zip(bodies, ends, strict=True)
            )

        await self.ada.until(self.room, done, 40)

    async def recovery_key(self, *flags: str) -> str:
        """Stops the adapter, makes a key, and starts the adapter again."""
        await self.house.pair.adapter.stop()
        ended = await self.house.pair.adapter.on_terminal("matrix", "recovery-key", *flags)
        assert ended.code == 0, ended
        [key] = KEY.findall(ended.out)
        assert key not in ended.err
        await self.house.pair.adapter.start()
        return str(key)


def device_of(pair: Pair) -> str:
    return str(json.loads((pair.state / "matrix-login.json").read_text())["device_id"])


@pytest.fixture
async def home(synapse: Synapse, tmp_path: Path) -> AsyncIterator[Home]:
    async with AsyncExitStack() as stack:
        (tmp_path / "old").mkdir()
        house = House(synapse, stack, tmp_path / "old")
        house.model.words, house.model.gap = 5, 0
        await house.open()
        ada = await stack.enter_async_context(js_client(synapse, "ada"))
        room = await ada.room(house.bot.user_id)
        await ada.joined_by(room, house.bot.user_id)
        yield Home(house, ada, room)


@pytest.mark.slow
async def test_who_trusts_only_signed_devices_can_talk_to_it(home: Home) -> None:
    """Both ways: its device gets the keys, and what it says is shown, with no warning of an
    unsigned device."""
    device = home.device
    await home.ada.until_devices(home.bot, lambda d: device in d and d[device].signed_by_owner)
    assert (await home.ada.identity(home.bot)).has_keys
    await home.ada.only_signed_devices()
    await home.ada.say(home.room, "Q-1 please")
    await home.answered("END:Q-1")
    assert await home.ada.undecrypted(home.room) == ()
    for message in await home.ada.messages(home.room):
        assert message.shield_reason != "unsigned_device", message


async def test_the_identity_is_the_same_after_a_kill_and_a_restart(home: Home) -> None:
    device = home.device
    await home.ada.until_devices(home.bot, lambda d: device in d and d[device].signed_by_owner)
    await home.house.pair.adapter.kill()
    await home.house.pair.adapter.start()
    await home.ada.say(home.room, "Q-1 please")
    await home.answered("END:Q-1")
    seen = await home.ada.identity(home.bot)
    assert seen.has_keys
    assert not seen.needs_approval


@pytest.mark.slow
async def test_on_another_machine_with_the_recovery_key_it_reads_what_was_said_before(
    home: Home, tmp_path: Path
) -> None:
    """The journal comes by a backup, the device is new: a question of before, which only the old
    device was given the key of, is answered."""
    pair = home.house.pair
    await home.ada.say(home.room, "Q-1 please")
    await home.answered("END:Q-1")
    key = await home.recovery_key()
    await home.ada.say(home.room, "Q-2 please")
    await home.answered("END:Q-1", "END:Q-2")
    await pair.adapter.stop()
    await home.ada.say(home.room, "Q-3 please")  # in the session that the backup has
    kept = tmp_path / "bot.backup"
    written = await pair.adapter.once("matrix", "backup", "--to", str(kept))
    assert written.code == 0, written
    was = home.device
    await pair.agent.stop()

    (tmp_path / "new").mkdir()
    there = Pair(
        tmp_path / "new",
        homeserver=home.house.synapse.url,
        user=home.bot,
        password=home.house.bot.password.reveal(),
        agent={"MODEL": "openai:fake", "BASE_URL": home.house.model.url, "API_KEY": "key"},
    )
    try:
        await there.start_agent()
        there.adapter.set(ANTIPHON_AGENT__URL=there.agent.url)
        restored = await there.adapter.once("matrix", "restore", str(kept), "--yes")
        assert restored.code == 0, restored
        wrong = await there.adapter.once("matrix", "recovery-key", "--restore", given=key[:-4])
        assert wrong.code == 2, wrong
        assert key[:-4] not in wrong.err
        back = await there.adapter.once(
            "matrix", "recovery-key", "--restore", "--json", given=f"{key}\n"
        )
        assert back.code == 0, back
        assert key not in back.out + back.err
        found = json.loads(back.out)
        assert found["device_signed"]
        assert found["sessions"]["new"] >= 2
        assert found["device_id"] == device_of(there) != was
        await there.adapter.start()
        await home.answered("END:Q-1", "END:Q-2", "END:Q-3")
        now = device_of(there)
        await home.ada.until_devices(home.bot, lambda d: now in d and d[now].signed_by_owner)
        await home.ada.only_signed_devices()
        await home.ada.say(home.room, "Q-4 please")
        await home.answered("END:Q-1", "END:Q-2", "END:Q-3", "END:Q-4")
        assert await home.ada.undecrypted(home.room) == ()
    finally:
        await there.stop()


@pytest.mark.slow
async def test_another_client_of_the_account_takes_the_recovery_key(home: Home) -> None:
    """It trusts the backup, reads the history, and is signed by the identity."""
    await home.ada.say(home.room, "Q-1 please")
    await home.answered("END:Q-1")
    key = await home.recovery_key()
    bot = home.house.bot
    async with js_log_in(home.house.synapse.url, bot.user_id, bot.password) as other:
        await other.until_identity(bot.user_id, lambda mine: mine.has_keys)
        restored = await other.recover(key)
        assert restored.total == restored.imported >= 2
        trust = await other.own_trust()
        assert trust.cross_signing_ready
        assert trust.backup_trusted
        assert trust.backup_matches_key
        shown = await other.until(home.room, lambda m: len(m) >= 2 and all(x.readable for x in m))
        assert [m.body.split()[-1] for m in shown] == ["please", "END:Q-1"]
        mine = await home.ada.devices(bot.user_id)
        assert mine[other.device_id].signed_by_owner


@pytest.mark.slow
async def test_a_key_is_made_once_and_only_on_a_terminal(home: Home) -> None:
    adapter = home.house.pair.adapter
    running = await adapter.on_terminal("matrix", "recovery-key")
    assert running.code == 2  # the adapter owns the keys
    assert not KEY.search(running.out)
    first = await home.recovery_key()
    await adapter.stop()
    again = await adapter.on_terminal("matrix", "recovery-key")
    assert again.code != 0
    assert "--new" in again.err
    nowhere = await adapter.once("matrix", "recovery-key", "--new", "--yes")
    assert nowhere.code == 2
    assert not KEY.search(nowhere.out + nowhere.err)
    second = await adapter.on_terminal("matrix", "recovery-key", "--new", "--yes")
    assert second.code == 0, second
    assert KEY.findall(second.out) not in ([], [first])
    assert first not in adapter.log.read_text()
