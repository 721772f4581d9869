"""What all trials of a campaign share: one Synapse, one model server, a pool of people."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNAL
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import StoredLogin
from antiphon.clock import SystemChance, SystemClock
from antiphon.db import Database
from antiphon.demo.synapse import Synapse
from antiphon.sdk.prototype_state import LocalState
from antiphon.settings import Secret
from antiphon.testing.campaign_people import SealedPerson, sealed_person
from antiphon.testing.campaign_process import Keeper
from antiphon.testing.checker_record import TAG
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.model_script import text_of
from antiphon.testing.model_server import ModelServer

PEOPLE = 6


class Bot:
    """An account of one trial's own."""

    def __init__(self, user_id: str, password: Secret):
        self.user_id = user_id
        self.password = password


class World:
    """Made by `world`."""

    def __init__(
        self,
        folder: Path,
        synapse: Synapse,
        model: ModelServer,
        people: list[LiveUser],
        stack: AsyncExitStack,
    ):
        self.folder = folder
        self.synapse = synapse
        self.model = model
        self.people = people
        self._template = folder / "template"
        self._stack = stack
        self._sealed: dict[str, SealedPerson] = {}
        self._making = asyncio.Lock()

    async def sealed(self, name: str = "sealed") -> SealedPerson:
        """The person of this name in encrypted rooms, made when first asked for: one process of
        the independent client for all trials. It trusts only devices that their owner signed."""
        async with self._making:
            if name not in self._sealed:
                made = await self._stack.enter_async_context(sealed_person(self.synapse, name))
                await made.js.only_signed_devices()
                self._sealed[name] = made
            return self._sealed[name]

    async def bot(self) -> Bot:
        """A new account."""
        password = Secret(secrets.token_urlsafe(12))
        user_id = await self.synapse.register_user(f"bot-{secrets.token_hex(5)}", password)
        return Bot(user_id, password)

    async def state(self, folder: Path, bot: Bot, homeserver: str) -> None:
        """A state folder with the newest schemas and a login, so that starts are fast."""
        shutil.copytree(self._template, folder)
        async with MatrixClient(self.synapse.url) as client:
            signed_in = await client.login_password(
                bot.user_id, bot.password, device_id=None, device_name="Campaign"
            )
        login.save(
            folder,
            StoredLogin(signed_in.user_id, signed_in.device_id, signed_in.access_token, homeserver),
        )

    async def prepare(self) -> None:
        """Makes the template of state folders: the databases as new processes make them."""
        self._template.mkdir(mode=0o700)
        state = await LocalState.open(
            f"sqlite:///{self._template / 'state.db'}", clock=SystemClock(), chance=SystemChance()
        )
        await state.close()
        journal = await Database.open(f"sqlite:///{self._template / 'matrix.db'}", JOURNAL)
        await journal.close()
        env = {
            "ANTIPHON_STATE_DIR": str(self._template),
            "ANTIPHON_AGENT__TOKEN": secrets.token_hex(16),
            "ANTIPHON_AGENT__PORT": "0",
        }
        agent = Keeper("agent", ("agent", "serve"), env, self.folder)
        await agent.start()
        await agent.ready()
        await agent.end(signal.SIGTERM)

    def model_calls(self) -> Counter[str]:
        """How often the model was asked, by the tag of the question."""
        calls: Counter[str] = Counter()
        for request in self.model.requests:
            asked = [m for m in request.messages if m.get("role") == "user"]
            found = TAG.search(text_of(asked[-1].get("content"))) if asked else None
            calls[found.group() if found else ""] += 1
        return calls


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Starts everything, and stops it at the end."""
    async with AsyncExitStack() as stack:
        synapse = await stack.enter_async_context(Synapse(folder / "synapse", rate_limits="lifted"))
        model = await stack.enter_async_context(ModelServer(words=20, gap=0.03))
        people = [
            await stack.enter_async_context(live_user(synapse, f"person{number}", lift=True))
            for number in range(PEOPLE)
        ]
        made = World(folder, synapse, model, people, stack)
        await made.prepare()
        yield made


async def pause(seconds: float) -> None:
    """Lets real time pass: what is tested runs in other processes, by their own clocks."""
    await asyncio.sleep(seconds)
