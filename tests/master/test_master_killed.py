"""The control plane killed before and after its commits, again and again, while a surface writes
with names for its requests: repeated, each gives its one answer, and nothing is doubled or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from antiphon.clock import SystemClock
from antiphon.crash import VARIABLE
from antiphon.testing.master import Client, Got
from antiphon.testing.processes import Process

TOKEN = "a-token-of-the-tests-0123456789"
PLACE = {"account": "@bot:x", "room": "!r:x"}
RUN = {"user_id": "@ada:x", "room": "!r:x", "input_tokens": 7}


class Mortal:
    """A control plane that dies at `point` on every third visit; started again by whoever finds
    it dead."""

    def __init__(self, folder: Path, database: str, point: str):
        self.deaths = 0
        self._process = Process(
            "master",
            ("master", "serve"),
            {
                "ANTIPHON_STATE_DIR": str(folder / "state"),
                "ANTIPHON_MASTER__TOKEN": TOKEN,
                "ANTIPHON_MASTER__PORT": "0",
                "ANTIPHON_MASTER__DATABASE": database,
                VARIABLE: f"{point}@3",
            },
            folder,
        )
        self._session = aiohttp.ClientSession()

    async def start(self) -> None:
        await self._process.start(60)
        self._process.set(ANTIPHON_MASTER__PORT=self._process.url.rpartition(":")[2])

    async def end(self) -> None:
        await self._session.close()
        await self._process.kill()

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Got:
        """Asks until there is an answer, always for the same under the same name."""
        while True:
            client = Client(self._session, self._process.url, TOKEN)
            try:
                return await client(method, path, body, key=key)
            except aiohttp.ClientError:
                assert await self._process.wait() == -9
                self.deaths += 1
                await self.start()


@asynccontextmanager
async def mortal(folder: Path, database: str, point: str) -> AsyncIterator[Mortal]:
    master = Mortal(folder, database, point)
    await master.start()
    try:
        yield master
    finally:
        await master.end()


async def test_killed_before_its_commits_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    await written_and_repeated(tmp_path, "", "master.before_commit")


@pytest.mark.slow
async def test_killed_after_its_commits_nothing_is_lost_or_doubled(
    tmp_path: Path, store_url: str
) -> None:
    await written_and_repeated(tmp_path, store_url, "master.committed")


async def written_and_repeated(folder: Path, database: str, point: str) -> None:
    async with mortal(folder, database, point) as master:
        chat = (await master.ask("POST", "/chats", {"place": PLACE}, "make")).json
        path = f"/chats/{chat['chat_id']}/sessions"
        begun = [(await master.ask("POST", path, {}, f"begin-{n}")).json for n in range(3)]
        title = {"title": "One"}
        session = f"{path}/{begun[0]['session_id']}"
        await master.ask("PATCH", session, title, "title")
        now = SystemClock().now_ms()
        usage = {"entries": [{**RUN, "run_id": "r1", "at_ms": now}]}
        await master.ask("POST", "/usage", usage, "usage")
        await master.ask("PUT", "/users/@ada:x", {"name": "Ada"}, "ada")
        erased = await master.ask("DELETE", "/users/@ada:x", key="erase")
        assert master.deaths >= 2

        assert (await master.ask("POST", "/chats", {"place": PLACE}, "make")).json == chat
        for number, one in enumerate(begun):
            again = await master.ask("POST", path, {}, f"begin-{number}")
            assert (again.status, again.json) == (201, one)
        assert (await master.ask("DELETE", "/users/@ada:x", key="erase")).json == erased.json
        assert erased.json["usage"] == 1
        listed = (await master.ask("GET", path)).json["items"]
        assert [one["number"] for one in listed] == [1, 2, 3, 4]
        assert [one["current"] for one in listed] == [False, False, False, True]
        assert listed[1]["title"] == "One"
        assert len((await master.ask("GET", "/chats")).json["items"]) == 1
        assert (await master.ask("GET", "/users/@ada:x")).status == 404
        assert (await master.ask("GET", "/usage")).json["turns"] == 0


async def test_a_stop_is_in_order_and_a_second_one_is_refused(tmp_path: Path) -> None:
    """Exit code 0 on SIGTERM; a folder in use is one line and exit code 2."""
    async with mortal(tmp_path, "", "nowhere") as master:
        process = master._process
        second = await process.once("master", "serve")
        assert second.code == 2
        assert "A control plane already runs" in second.said
        assert await process.stop() == 0
    log = process.log.read_text()
    assert TOKEN not in log
    assert "control plane stopped" in log
