"""`CommandWorld`: commands given by people in rooms, over real local state and an agent that is
scripted, for tests of `sdk.commander` and of surfaces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from antiphon.clock import SystemChance
from antiphon.core.access import AllowList
from antiphon.core.ids import EventId, RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.roles import Access
from antiphon.errors import AgentUnreachableError
from antiphon.sdk import real
from antiphon.sdk.commander import Asker, Commander, Reply, Surface
from antiphon.sdk.interface import PlatformHealth, StateHealth
from antiphon.sdk.prototype_state import LocalState
from antiphon.testing.clock import FakeClock

ADA, BOB = UserId("@ada:example.org"), UserId("@bob:example.org")
BOT = UserId("@bot:example.org")
ROOM = RoomId("!room:example.org")


def place(room: str = ROOM, thread: str | None = None, user: str | None = None) -> Place:
    """A place of the surface `matrix`."""
    return Place(
        "matrix",
        BOT,
        RoomId(room),
        None if thread is None else EventId(thread),
        None if user is None else UserId(user),
    )


def archive(*runs: tuple[str, str, str], status: str = "success") -> bytes:
    """A thread's archive as the agent makes it; each run: who, the question, the answer."""
    return msgspec.json.encode(
        {
            "kind": "antiphon.thread",
            "version": 1,
            "runs": [
                {
                    "run_id": f"run-{n}",
                    "status": status,
                    "input": [{"text": question, "author": who}],
                    "steps": [{"text": answer}],
                    "created_ms": 1_700_000_000_000 + n * 60_000,
                }
                for n, (who, question, answer) in enumerate(runs)
            ],
            "notes": [],
        }
    )


class ScriptedPlatform(real.Platform):
    """The real platform over local state, without an agent: what it would say is set here."""

    def __init__(self, state: LocalState):
        super().__init__(state, None, None, surface="matrix")  # type: ignore[arg-type]
        self.local = state
        self.models_there: tuple[str, ...] = ("offline", "openai:gpt-9", "local")
        self.away = False
        self.memories: dict[ThreadId, bytes] = {}
        self.health = StateHealth(remote=False, ok=True, detail="Kept in state.db.")

    async def models(self) -> tuple[str, ...]:
        self._reach()
        return self.models_there

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        self._reach()
        return self.memories.get(thread_id)

    async def check(self) -> PlatformHealth:
        return PlatformHealth(not self.away, "It is away." if self.away else "It answers.")

    async def state_health(self) -> StateHealth:
        return self.health

    def _reach(self) -> None:
        if self.away:
            raise AgentUnreachableError("The agent does not answer.")


class CommandWorld:
    """Ada is an administrator, everybody of example.org may talk."""

    def __init__(self, platform: ScriptedPlatform, clock: FakeClock, surface: Surface):
        self.platform = platform
        self.clock = clock
        self.access = Access(
            allow=AllowList(["@*:example.org"]),
            admins=AllowList([ADA]),
            blocked=AllowList(["@filed:example.org"]),
        )
        self.status_lines: list[str] = []
        self.commander = Commander(
            platform, lambda: self.access, clock, surface, lambda: self.status_lines
        )
        self._requests = 0

    async def says(self, who: UserId, text: str, where: Place | None = None, **more: Any) -> Reply:
        """The reply to a command; `more`: fields of `Asker`."""
        self._requests += 1
        asker = Asker(
            user_id=who,
            place=place() if where is None else where,
            request_id=more.pop("request_id", f"turn-{self._requests}"),
            is_admin=more.pop("is_admin", self.access.is_admin(who)),
            **more,
        )
        return await self.commander.reply(asker, text)

    async def all_say(self, who: UserId, texts: Iterable[str]) -> list[str]:
        """The texts of the replies, one after the other."""
        return [(await self.says(who, text)).text for text in texts]


@asynccontextmanager
async def command_world(
    folder: Path, surface: Surface | None = None
) -> AsyncIterator[CommandWorld]:
    """A world whose local state is in `folder`."""
    clock = FakeClock()
    state = await LocalState.open(
        f"sqlite:///{folder}/state.db", clock=clock, chance=SystemChance(), surface="matrix"
    )
    try:
        yield CommandWorld(ScriptedPlatform(state), clock, surface or Surface("matrix"))
    finally:
        await state.close()
