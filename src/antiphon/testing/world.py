"""A small world for tests of the adapter: a fake homeserver, a bot, a person in a room with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antiphon.adapter.matrix.marks import mark_of
from antiphon.settings import MatrixSettings
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.platform import FakePlatform


class World:
    """A homeserver, a bot, and a person in a room with it."""

    def __init__(self, server: FakeHomeserver, state: Path):
        self.server = server
        self.state = state
        self.bot = server.account("bot")
        self.ada = server.account("ada")
        self.platform = FakePlatform()
        self.adapter = self.life()
        self.room = ""

    def life(self, **settings: Any) -> AdapterUnderTest:
        return AdapterUnderTest(
            self.server.url,
            self.bot,
            self.server.token(self.bot),
            self.platform,
            self.state,
            settings=MatrixSettings(
                **{
                    "allow": (f"@*:{self.server.name}",),
                    "edit_interval_s": 0.05,
                    # Tests say more in a second than a person does in a minute.
                    "break_loops": False,
                    **settings,
                }
            ),
        )

    def ask(self, text: str, room: str | None = None, **more: Any) -> str:
        return self.server.say(room or self.room, self.ada, text, **more)

    def roots(self, room: str | None = None) -> list[dict[str, Any]]:
        """The bot's messages without edits."""
        return [
            event
            for event in self.server.messages(room or self.room, self.bot)
            if event["content"].get("m.relates_to", {}).get("rel_type") != "m.replace"
        ]

    def shown(self, room: str | None = None) -> list[str]:
        """What a person reads of the bot in the end, message by message."""
        texts = {e["event_id"]: e["content"].get("body") for e in self.roots(room)}
        for event in self.server.messages(room or self.room, self.bot):
            relation = event["content"].get("m.relates_to", {})
            if relation.get("rel_type") == "m.replace" and relation["event_id"] in texts:
                texts[relation["event_id"]] = event["content"]["m.new_content"]["body"]
        return [text for text in texts.values() if text is not None]

    def finals(self, room: str | None = None) -> int:
        marks = [mark_of(e["content"]) for e in self.server.messages(room or self.room, self.bot)]
        return sum(mark is not None and mark["state"] == "final" for mark in marks)

    async def answered(self, count: int = 1, room: str | None = None) -> None:
        await self.server.until(lambda: self.finals(room) >= count, timeout_s=10)


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Waits for something that no event tells of; looks every 10 ms."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
