"""A message whose key is late: one polite note after a minute, an answer when the key comes, and a
clear end after a week, over restarts too. The clock is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from antiphon.adapter.matrix.late_keys import (
    GIVE_UP_AFTER_S,
    GIVEN_UP,
    LOOK_EVERY_S,
    NOT_YET,
    NOTE_AFTER_S,
)
from antiphon.testing.cipher import FakeCipher, hide, shown
from antiphon.testing.clock import FakeClock
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World, until

ENCRYPTION = {"algorithm": "m.megolm.v1.aes-sha2"}
SECRET, OPEN = "late", "here"


class Late:
    """An encrypted room, a bot that has the key of `OPEN` alone, and a clock that stands still."""

    def __init__(self, world: World):
        self.world = world
        self.clock = FakeClock()
        self.cipher = FakeCipher(OPEN)
        world.adapter.cipher = self.cipher
        world.adapter.clock = self.clock

    def ask(self, text: str, session: str = SECRET) -> str:
        content = hide({"msgtype": "m.text", "body": text}, session)
        return self.world.server.event(self.world.room, "m.room.encrypted", self.world.ada, content)

    def said(self) -> list[str]:
        """What the bot has said, without edits."""
        return [
            shown(event["content"])["body"]
            for event in self.world.server.room_events(self.world.room)
            if event["sender"] == self.world.bot
            and event["type"] == "m.room.encrypted"
            and "m.new_content" not in shown(event["content"])
        ]

    async def reads(self, *texts: str) -> None:
        await self.world.server.until(lambda: self.said() == list(texts), timeout_s=10)

    async def waits(self) -> None:
        """All that there is now is journalled, and the late keys have been looked at."""
        text = "number " + str(len(self.said()))
        self.ask(text, OPEN)
        await until(lambda: self.said()[-1:] == [f"You said: {text}"], 10)
        await until(lambda: self.clock.sleeping > 0)

    async def pass_by(self, seconds: float) -> None:
        """Time passes, in steps short enough for whatever looks at it now and then."""
        while seconds > 0:
            step = min(seconds, LOOK_EVERY_S)
            await self.clock.advance(step)
            await self.waits()
            seconds -= step

    def notes(self) -> list[str]:
        return [text for text in self.said() if not text.startswith("You said: number ")]


@pytest.fixture
async def late(kept: str, homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Late]:
    world = World(homeserver, tmp_path)
    world.room = homeserver.room(world.ada, world.bot)
    async with kept_by(kept, world.platform, tmp_path):
        async with world.adapter.running():
            pass  # known, so that what is said from now on is answered
        homeserver.event(world.room, "m.room.encryption", world.ada, ENCRYPTION, state_key="")
        yield Late(world)


async def test_one_note_after_a_minute_and_no_second(late: Late) -> None:
    async with late.world.adapter.running():
        late.ask("first")
        late.ask("second")
        await late.waits()
        await late.pass_by(NOTE_AFTER_S - 1)
        assert late.notes() == []
        await late.pass_by(LOOK_EVERY_S)
        await until(lambda: late.notes() == [NOT_YET])
        await late.pass_by(3 * LOOK_EVERY_S)
    async with late.world.adapter.running():
        await late.waits()
        await late.pass_by(LOOK_EVERY_S)
        assert late.notes() == [NOT_YET]


async def test_a_key_after_the_note_is_answered_once(late: Late) -> None:
    async with late.world.adapter.running():
        late.ask("hello")
        await late.waits()
        await late.pass_by(NOTE_AFTER_S + LOOK_EVERY_S)
        await until(lambda: late.notes() == [NOT_YET])
        late.cipher.keys.add(SECRET)
        late.cipher.wake()
        await until(lambda: late.notes() == [NOT_YET, "You said: hello"], 10)
        await late.clock.advance(GIVE_UP_AFTER_S)
        await late.pass_by(2 * LOOK_EVERY_S)
        assert late.notes() == [NOT_YET, "You said: hello"]


async def test_after_a_week_it_is_given_up_with_a_word_and_for_good(late: Late) -> None:
    """The week is counted from when the message came, through restarts."""
    async with late.world.adapter.running():
        late.ask("hello")
        await late.waits()
        await late.pass_by(NOTE_AFTER_S + LOOK_EVERY_S)
        await until(lambda: late.notes() == [NOT_YET])
    await late.clock.advance(GIVE_UP_AFTER_S - NOTE_AFTER_S - 3 * LOOK_EVERY_S)
    async with late.world.adapter.running():
        await late.waits()
        assert late.notes() == [NOT_YET]
        await late.pass_by(3 * LOOK_EVERY_S)
        await until(lambda: late.notes() == [NOT_YET, GIVEN_UP], 10)
        late.cipher.keys.add(SECRET)
        late.cipher.wake()
        await late.waits()
    async with late.world.adapter.running():
        await late.waits()
    assert late.notes() == [NOT_YET, GIVEN_UP]


async def test_a_key_that_came_while_it_was_down_is_used_at_the_start(late: Late) -> None:
    async with late.world.adapter.running():
        late.ask("hello")
        await late.waits()
    late.cipher.keys.add(SECRET)
    await late.clock.advance(GIVE_UP_AFTER_S + 1)
    async with late.world.adapter.running():
        await until(lambda: late.notes() == ["You said: hello"], 10)
        await late.waits()
    assert late.notes() == ["You said: hello"]


async def test_what_waits_is_counted(late: Late) -> None:
    async def metric(name: str) -> float:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{late.world.adapter.operations}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        values: list[Any] = [line.split()[-1] for line in lines if line.startswith(name)]
        return float(values[0]) if values else 0.0

    async with late.world.adapter.running():
        late.ask("hello")
        await late.waits()
        assert await metric("antiphon_matrix_unreadable") == 1
        await late.clock.advance(GIVE_UP_AFTER_S)
        await late.pass_by(2 * LOOK_EVERY_S)
        await until(lambda: late.notes()[-1:] == [GIVEN_UP], 10)
        assert await metric('antiphon_matrix_late_keys_total{end="given_up"}') == 1
        assert await metric("antiphon_matrix_unreadable") == 0
