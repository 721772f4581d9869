"""`CommandWorld`: commands given by people in rooms, over the shipped fake platform, for tests of
`sdk.commander` and of surfaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from antiphon.clock import Clock
from antiphon.core.access import AllowList
from antiphon.core.ids import EventId, RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.roles import Access
from antiphon.sdk.commander import Asker, Commander, Reply, Surface
from antiphon.sdk.interface import StateHealth
from antiphon.testing.clock import FakeClock
from antiphon.testing.platform import FakePlatform

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


def archive(*runs: tuple[str, str, str], names: Sequence[str] = ()) -> bytes:
    """A thread's archive as the agent makes it; each run: who, the question, the answer."""
    return msgspec.json.encode(
        {
            "kind": "antiphon.thread",
            "version": 1,
            "runs": [
                {
                    "run_id": names[n] if names else f"run-{n}",
                    "status": "success",
                    "input": [{"text": question, "author": who}],
                    "steps": [{"text": answer}],
                    "created_ms": 1_700_000_000_000 + n * 60_000,
                }
                for n, (who, question, answer) in enumerate(runs)
            ],
            "notes": [],
        }
    )


class ScriptedPlatform(FakePlatform):
    """The shipped fake platform, with memories as the agent exports them: those set in `memories`,
    else what was asked and answered. `health`: what is told of the state, unless None."""

    def __init__(self, surface: str = "matrix", *, clock: Clock | None = None):
        super().__init__(surface, clock=clock)
        self.known_models = ("offline", "openai:gpt-9", "local")
        self.memories: dict[ThreadId, bytes] = {}
        self.health: StateHealth | None = None

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        data = await super().export_thread(thread_id)
        if thread_id in self.memories or data is None:
            return self.memories.get(thread_id)
        return archive(
            *(
                (one["run"]["question"][0]["author"], one["run"]["question"][0]["text"], answer)
                for one in msgspec.json.decode(data)
                for answer in [one["progress"]["text"]]
            ),
            names=[one["run"]["run_id"] for one in msgspec.json.decode(data)],
        )

    async def state_health(self) -> StateHealth:
        return self.health or await super().state_health()


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


def command_world(surface: Surface | None = None) -> CommandWorld:
    """A world in which nothing has happened yet."""
    clock = FakeClock()
    return CommandWorld(ScriptedPlatform(clock=clock), clock, surface or Surface("matrix"))
