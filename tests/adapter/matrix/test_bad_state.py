"""State that can't be used, with the adapter as a real process: at a start it is refused with a
sentence before anything is changed, later it ends the process, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from antiphon.db import Database
from antiphon.sdk.prototype_state import MIGRATIONS as STATE_MIGRATIONS
from antiphon.testing.databases import locked
from antiphon.testing.disk import SmallDisk
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.processes import Ended, Pair

LONGEST_S = 30.0


class Bot:
    """A bot as a real process on a fake homeserver, with a person in a room with it."""

    def __init__(self, server: FakeHomeserver, folder: Path, state: Path):
        self.server = server
        self.user_id = server.account("bot")
        self.ada = server.account("ada")
        self.room = server.room(self.ada, self.user_id)
        self.pair = Pair(
            folder,
            homeserver=server.url,
            user=self.user_id,
            password="password",
            agent={"DATABASE": f"sqlite:///{folder / 'agent.db'}"},
        )
        self.state = state
        self.journal = state / "matrix.db"
        self.process = self.pair.adapter
        self.process.set(
            ANTIPHON_STATE_DIR=str(state), ANTIPHON_AGENT__URL="ws://127.0.0.1:9/agent_ws/"
        )

    async def life(self) -> None:
        """A start that works, and a clean end."""
        await self.process.start()
        assert await self.process.stop() == 0

    async def refused(self, *words: str) -> Ended:
        """A start that must be refused: exit code 2, one sentence, and the homeserver was not even
        asked whose token this is."""
        asked = len(self.server.requests)
        ended = await self.process.once()
        assert ended.code == 2, ended.err
        assert ended.out == ""
        assert ended.said.startswith("antiphon: ")
        assert "Traceback" not in ended.err
        for word in words:
            assert word in ended.said, ended.said
        assert len(self.server.requests) == asked
        return ended

    def answers(self) -> list[str]:
        """The bot's messages in the room without edits."""
        return [
            event["event_id"]
            for event in self.server.messages(self.room, self.user_id)
            if event["content"].get("m.relates_to", {}).get("rel_type") != "m.replace"
        ]

    async def answered(self, count: int) -> None:
        await self.server.until(lambda: len(self.answers()) >= count, timeout_s=LONGEST_S)


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    async with FakeHomeserver() as server:
        yield Bot(server, tmp_path, tmp_path / "state")


@pytest.fixture
async def bot_on_disk(tmp_path: Path, disk: SmallDisk) -> AsyncIterator[Bot]:
    async with FakeHomeserver() as server:
        yield Bot(server, tmp_path, disk.path / "state")


def no_database(path: Path) -> None:
    path.write_bytes(b"this is a letter to my mother\n" * 500)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xde\xad" * 4_096)


def cut_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 100)


@pytest.mark.parametrize("harm", [no_database, overwritten, cut_short])
async def test_a_damaged_journal_is_refused_and_left_as_it_is(
    bot: Bot, harm: Callable[[Path], None]
) -> None:
    await bot.life()
    harm(bot.journal)
    before = bot.journal.read_bytes()
    await bot.refused("matrix.db", "damaged", "backup")
    assert bot.journal.read_bytes() == before


@pytest.mark.slow
async def test_another_stores_database_in_its_place_is_refused(bot: Bot) -> None:
    await bot.life()
    other = Path(bot.journal.parent.parent / "other.db")
    await (await Database.open(f"sqlite:///{other}", STATE_MIGRATIONS)).close()
    shutil.copy(other, bot.journal)
    before = bot.journal.read_bytes()
    await bot.refused("matrix.db", "something else")
    assert bot.journal.read_bytes() == before


@pytest.mark.slow
async def test_a_newer_schema_is_refused(bot: Bot) -> None:
    await bot.life()
    with sqlite3.connect(bot.journal) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    await bot.refused("9999", "newer version")


async def test_another_accounts_state_is_refused_before_anybody_is_logged_in(bot: Bot) -> None:
    await bot.life()
    other = bot.server.account("other")
    bot.process.set(ANTIPHON_MATRIX__USER=other)
    login = (bot.state / "matrix-login.json").read_bytes()
    await bot.refused(f"belongs to {bot.user_id}", other, "ANTIPHON_STATE_DIR")
    assert (bot.state / "matrix-login.json").read_bytes() == login


@pytest.mark.slow
async def test_a_locked_journal_is_refused(bot: Bot) -> None:
    """After the busy time-out."""
    await bot.life()
    with locked(bot.journal):
        ended = await bot.process.once()
    assert ended.code == 2
    assert "locked" in ended.said
    await bot.life()


async def test_a_state_folder_that_takes_no_writes_is_refused(
    bot_on_disk: Bot, disk: SmallDisk
) -> None:
    await bot_on_disk.life()
    disk.read_only(True)
    await bot_on_disk.refused(str(bot_on_disk.state), "writable")
    disk.read_only(False)
    await bot_on_disk.life()


@pytest.mark.slow
async def test_a_full_disk_is_refused(bot_on_disk: Bot, disk: SmallDisk) -> None:
    await bot_on_disk.life()
    disk.fill()
    ended = await bot_on_disk.process.once()
    assert ended.code == 2
    assert "full" in ended.said
    disk.free()
    await bot_on_disk.life()


@pytest.mark.slow
async def test_a_disk_that_fills_up_ends_it_and_nothing_is_lost_or_doubled(
    bot_on_disk: Bot, disk: SmallDisk
) -> None:
    """What was not committed was not acknowledged: the same messages come again."""
    bot = bot_on_disk
    await bot.pair.start_agent()
    bot.process.set(ANTIPHON_AGENT__URL=bot.pair.agent.url)
    await bot.process.start()
    bot.server.say(bot.room, bot.ada, "first")
    await bot.answered(1)
    disk.fill()
    for number in range(5):
        bot.server.say(bot.room, bot.ada, f"{number} " + "x" * 40_000)
    assert await bot.process.wait(LONGEST_S) == 1
    assert "antiphon: The disk is full." in bot.process.log.read_text()
    assert "Nothing was saved" in bot.process.log.read_text()
    disk.free()
    await bot.process.start()
    await bot.answered(6)
    bot.server.say(bot.room, bot.ada, "last")
    await bot.answered(7)
    assert len(bot.answers()) == 7
    assert await bot.process.stop() == 0
    assert await bot.pair.agent.stop() == 0


@pytest.mark.slow
async def test_a_journal_that_is_locked_later_ends_it_and_nothing_is_lost(bot: Bot) -> None:
    await bot.pair.start_agent()
    bot.process.set(ANTIPHON_AGENT__URL=bot.pair.agent.url)
    await bot.process.start()
    with locked(bot.journal):
        bot.server.say(bot.room, bot.ada, "first")
        assert await bot.process.wait(LONGEST_S) == 1
    assert "locked" in bot.process.log.read_text().splitlines()[-1]
    assert bot.answers() == []
    await bot.process.start()
    await bot.answered(1)
    await asyncio.gather(bot.process.stop(), bot.pair.agent.stop())
    assert len(bot.answers()) == 1
