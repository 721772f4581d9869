"""A bot on a real homeserver as it runs for people: agent and adapter as processes, a model server
behind them, and people in rooms with it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from antiphon.demo.synapse import Synapse
from antiphon.testing.history import Shown
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.model_server import ModelServer
from antiphon.testing.processes import Pair


class House:
    """A homeserver with a bot that runs as agent and adapter, and a model server behind it."""

    def __init__(self, synapse: Synapse, stack: AsyncExitStack, folder: Path):
        self.synapse = synapse
        self.folder = folder
        self.model = ModelServer(words=30, gap=0.02)
        self.bot: LiveUser
        self.pair: Pair
        self._stack = stack

    async def open(self, model: str = "openai:fake", **matrix: str) -> Pair:
        await self._stack.enter_async_context(self.model)
        self.bot = await self._stack.enter_async_context(live_user(self.synapse, "bot"))
        self.pair = Pair(
            self.folder,
            homeserver=self.synapse.url,
            user=self.bot.user_id,
            password=self.bot.password.reveal(),
            agent={"MODEL": model, "BASE_URL": self.model.url, "API_KEY": "key"},
            matrix=matrix,
        )
        return await self._stack.enter_async_context(self.pair)

    async def person(self, name: str) -> tuple[LiveUser, str]:
        """Somebody, and a room of theirs with the bot in it."""
        person = await self._stack.enter_async_context(live_user(self.synapse, name))
        room = await person.room(self.bot.user_id)
        await person.joined_by(room, self.bot.user_id)
        return person, room

    def answers(self, shown: tuple[Shown, ...]) -> list[str]:
        return [message.body for message in shown if message.sender == self.bot.user_id]

    async def answered(self, person: LiveUser, room: str, *ends: str) -> list[str]:
        """Waits until the bot's messages end with these texts, in order."""

        def done(shown: tuple[Shown, ...]) -> bool:
            bodies = self.answers(shown)
            return len(bodies) >= len(ends) and all(
                body.endswith(end) for body, end in zip(bodies, ends, strict=False)
            )

        return self.answers(await person.until(room, done, 30))
