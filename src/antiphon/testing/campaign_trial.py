"""One trial: a bot of its own with its processes, rooms and questions, and what became of them."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from antiphon.adapter.matrix.transport.events import Event
from antiphon.testing import campaign_progress as progress
from antiphon.testing import checker_sealed
from antiphon.testing.campaign_people import Person, SealedPerson
from antiphon.testing.campaign_plan import Plan
from antiphon.testing.campaign_process import Keeper
from antiphon.testing.campaign_world import Bot, World, pause
from antiphon.testing.checker import Asked, Expected, Facts, Violation, judge
from antiphon.testing.checker_record import read_runs
from antiphon.testing.checker_sealed import Sealed
from antiphon.testing.fault_proxy import FaultProxy
from antiphon.testing.fault_proxy_tcp import TcpProxy
from antiphon.testing.ports import kept_port

TOKEN = "a-token-of-the-campaign-0123456789"  # noqa: S105 - of a test
SETTLE_S = 30.0
OPEN_ENDS = frozenset(
    {"unanswered", "unfinished", "missing_part", "kept", "different", "undecryptable"}
)
TRUSTED_S = 90.0
"""Longest wait for a bot to have published and signed its device."""


class Room(msgspec.Struct):
    """A room of the trial, who talks in it, and its canary."""

    room_id: str
    person: Person
    canary: str
    asked: int = 0


class Trial:
    """What the scenarios (`campaign_kinds`) work with."""

    def __init__(
        self,
        world: World,
        plan: Plan,
        folder: Path,
        bot: Bot,
        *,
        proxy: FaultProxy | None = None,
        tcp: TcpProxy | None = None,
        mutant: str = "",
    ):
        self.world = world
        self.plan = plan
        self.bot = bot
        self.chance = plan.chance()
        self.folder = folder
        self.state = folder / "state"
        self.rooms: list[Room] = []
        self.asked: list[Asked] = []
        self.notes: dict[str, float] = {}
        self.rewound = False
        self.problems: list[Violation] = []
        self.sealed_events = 0
        self.undecryptable = 0
        self.unseen_ms = 0
        self.agent_port = tcp.upstream_port if tcp else kept_port()
        self.proxy = proxy
        self.tcp = tcp
        self.homeserver = proxy.url if proxy else world.synapse.url
        self.mutant = mutant
        self.more: dict[str, str] = {}
        """Settings of adapters that are made from now on."""
        self.more_keepers: list[Keeper] = []
        """Other processes that crash orders were given to."""
        self.agent = self.make_agent()
        self.adapter = self.make_adapter("adapter", self.plan.orders("adapter"))

    def make_agent(self) -> Keeper:
        """The agent of this trial, not started."""
        env = self._env() | {
            "ANTIPHON_AGENT__PORT": str(self.agent_port),
            "ANTIPHON_AGENT__MODEL": "openai:fake",
            "ANTIPHON_AGENT__BASE_URL": self.world.model.url,
            "ANTIPHON_AGENT__API_KEY": "k",
        }
        return Keeper(
            "agent",
            ("agent", "serve"),
            env,
            self.folder,
            plans=self.plan.orders("agent"),
            mutant=self.mutant,
        )

    def make_adapter(self, name: str, plans: tuple[str, ...] = ()) -> Keeper:
        """An adapter of this trial, not started."""
        return Keeper(
            name,
            ("matrix", "run"),
            self.adapter_env(),
            self.folder,
            plans=plans,
            mutant=self.mutant,
        )

    def adapter_env(self) -> dict[str, str]:
        """The settings of the adapter, and of commands over its state."""
        agent_port = self.tcp.port if self.tcp else self.agent_port
        return (
            self._env()
            | self.more
            | {
                "ANTIPHON_AGENT__URL": f"ws://127.0.0.1:{agent_port}/agent_ws/",
                "ANTIPHON_MATRIX__HOMESERVER": self.homeserver,
                "ANTIPHON_MATRIX__USER": self.bot.user_id,
                "ANTIPHON_MATRIX__PASSWORD": self.bot.password.reveal(),
                "ANTIPHON_MATRIX__ALLOW": "*",
                "ANTIPHON_MATRIX__BREAK_LOOPS": "false",
                "ANTIPHON_MATRIX__EDIT_INTERVAL_S": "0.2",
            }
        )

    def _env(self) -> dict[str, str]:
        return {
            "ANTIPHON_STATE_DIR": str(self.state),
            "ANTIPHON_LOG_FORMAT": "json",
            "ANTIPHON_AGENT__TOKEN": TOKEN,
        }

    @property
    def keepers(self) -> tuple[Keeper, ...]:
        """The processes that crash orders were given to."""
        return (self.adapter, self.agent, *self.more_keepers)

    @property
    def faults(self) -> dict[str, int]:
        """What was done to its connections, and how often."""
        played = dict(self.proxy.played) if self.proxy else {}
        return played | ({"agent:cut": self.tcp.cuts} if self.tcp else {})

    # --- what scenarios do -----------------------------------------------------------------------

    async def start(self) -> None:
        """Starts both processes; waits for neither."""
        await self.agent.start()
        await self.adapter.start()

    async def open_rooms(self) -> None:
        """Makes the plan's rooms; in some of them things were said before the bot was invited."""
        people = await self._people()
        more: dict[str, Any] = {}
        if self.plan.encrypted:
            more = {
                "encrypted": self.plan.play != "encrypted_on",
                "rotation_messages": self.plan.rotation or None,
            }
        for number in range(self.plan.rooms):
            canary = secrets.token_hex(5)  # never the same again: the model server knows them all
            person = people[number % len(people)]
            if self.chance.random() < 0.3 or self.plan.play == "cursor_deleted":
                room_id = await person.room(name="Old room", **more)
                room = Room(room_id, person, canary)
                await self.ask(room, expected="nothing")
                inviter = person if isinstance(person, SealedPerson) else person.client
                await inviter.invite(room_id, self.bot.user_id)
            else:
                room = Room(await person.room(self.bot.user_id, **more), person, canary)
            self.rooms.append(room)

    async def _people(self) -> list[Person]:
        """Who makes its rooms. A bot that nobody can encrypt for yet is waited for: what was said
        before it had a device it can never read."""
        if not self.plan.encrypted:
            return [*self.chance.sample(self.world.people, len(self.world.people))]
        person = await self.world.sealed()
        async with asyncio.timeout(TRUSTED_S):
            await person.trusts(self.bot.user_id)
        return [person]

    async def ask(
        self,
        room: Room,
        how: str = "",
        *,
        expected: Expected = "answer",
        text: str = "",
        by: Person | None = None,
    ) -> str:
        """Says something in a room: a question named by its tag, or `text` as it is."""
        room.asked += 1
        tag = f"Q-{room.canary}-{room.asked}"
        event_id = await (by or room.person).say(room.room_id, text or f"{tag} {how}".strip())
        self.asked.append(Asked(room.room_id, event_id, tag, expected))
        return tag

    async def edit(self, room: Room, tag: str, how: str) -> str:
        """Edits a question into another one, and gives that one's tag."""
        at, one = next((i, one) for i, one in enumerate(self.asked) if one.tag == tag)
        room.asked += 1
        new = f"Q-{room.canary}-{room.asked}"
        edit = await room.person.edit(room.room_id, one.event_id, f"{new} {how}")
        self.asked[at] = msgspec.structs.replace(one, tag=new, older=(*one.older, tag), edit=edit)
        return new

    async def stop(self, room: Room) -> None:
        """Says `!stop`: what was asked before it may end by that."""
        for at, one in enumerate(self.asked):
            if one.room_id == room.room_id and one.expected == "answer":
                self.asked[at] = msgspec.structs.replace(one, expected="stoppable")
        await self.ask(room, expected="reply", text="!stop")

    async def redact(self, room: Room, tag: str) -> None:
        """Redacts a question."""
        at, one = next((i, one) for i, one in enumerate(self.asked) if one.tag == tag)
        await room.person.redact(room.room_id, one.event_id)
        self.asked[at] = msgspec.structs.replace(one, expected="withdrawn")

    async def ask_each(self, count: int, how: str = "") -> None:
        """Asks `count` questions in each room, one after the other, the rooms side by side."""

        async def some(room: Room) -> None:
            for _ in range(count):
                await self.ask(room, how or self.how())

        async with asyncio.TaskGroup() as group:
            for room in self.rooms:
                group.create_task(some(room))

    def how(self) -> str:
        """How a question wants to be answered: mostly short, some with a tool."""
        words, gap = self.chance.randint(8, 24), self.chance.choice(("0.01", "0.03", "0.05"))
        tool = ""
        if self.plan.tools and self.chance.random() < 0.7:
            tool = 'tool:notes_add:{"text":"kept"} '
        return f"{tool}words:{words} gap:{gap}"

    async def streaming(self, tag: str, timeout_s: float = 15.0) -> bool:
        """Waits until the model writes on the answer to `tag`; whether it does in time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for request in reversed(self.world.model.requests):
                if tag in str(request.messages[-1:]) and request.words_sent > 3:
                    return True
            await pause(0.03)
        return False

    # --- the end ---------------------------------------------------------------------------------

    async def settled(self, quiet_s: float = SETTLE_S) -> bool:
        """Waits until every question has its finished answer, at most until nothing has moved for
        `quiet_s` seconds: a slow machine breaks no promise. Whether it was so."""
        moved_at, last = time.monotonic(), progress.Progress()
        while True:
            now = progress.read(self.state)
            if not now.owes and not any(v.kind in OPEN_ENDS for v in judge(await self.facts())):
                return True
            if now != last:
                moved_at, last = time.monotonic(), now
            if time.monotonic() - moved_at >= quiet_s:
                return False
            await pause(0.15)

    async def finish(self, quiet_s: float = SETTLE_S) -> None:
        """Waits until all is settled, then asks once more everywhere: what was still to come
        before the answers to that has come with them."""
        if await self.settled(quiet_s):
            await self.ask_each(1, "words:5 gap:0")
            await self.settled(quiet_s)

    async def end(self) -> None:
        """Ends the processes, whatever state they are in."""
        for keeper in (self.adapter, self.agent):
            await keeper.end()

    async def verdict(self) -> tuple[Violation, ...]:
        """Ends the processes and judges."""
        await self.end()
        for keeper in (self.adapter, self.agent):
            # SIGTERM and SIGKILL are ours; anything else it did by itself.
            self.problems += [
                Violation("process", "", keeper.name, f"ended by itself with {code}")
                for code in keeper.ended
                if code not in (0, -signal.SIGTERM)
            ]
        facts = await self.facts()
        self.sealed_events, self.undecryptable = checker_sealed.count(
            self.bot.user_id, facts.sealed
        )
        return (*self.problems, *judge(facts))

    async def part(self) -> None:
        """People leave the encrypted rooms, so that none of them grows into thousands of rooms."""
        for room in self.rooms:
            if isinstance(room.person, SealedPerson):
                await room.person.part(room.room_id)

    async def facts(self) -> Facts:
        """What the homeserver shows and the agent recorded, now."""
        rooms: dict[str, tuple[Event, ...]] = {}
        sealed: dict[str, Sealed] = {}
        for room in self.rooms:
            if isinstance(room.person, SealedPerson):
                wire = await room.person.wire(room.room_id)
                rooms[room.room_id] = await room.person.opened(room.room_id, wire)
                sealed[room.room_id] = Sealed(wire, rooms[room.room_id], self.unseen_ms)
            else:
                rooms[room.room_id] = await room.person.history(room.room_id)
        return Facts(
            bot=self.bot.user_id,
            asked=tuple(self.asked),
            rooms=rooms,
            runs=read_runs(self.state / "agent.db"),
            model_calls=self.world.model_calls(),
            rewound=self.rewound,
            sealed=sealed,
        )
