"""A room of three thousand devices keeps no other room waiting: keys are given outside of the
budget of sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.contents import Address, opening
from antiphon.adapter.matrix.crypto.room_cipher import RoomCipher
from antiphon.adapter.matrix.crypto.room_facts import RoomFacts
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.crypto.upkeep import Upkeep
from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.gate import MOST_AT_ONCE, SendGate
from antiphon.adapter.matrix.journal import outbox
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.schema import room as room_table
from antiphon.adapter.matrix.marks import Mark
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import SystemClock
from antiphon.core.ids import EventId, RoomId, TurnId, TxnId, UserId
from antiphon.core.pacing import SendClass
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.testing.cipher import FakeCipher
from antiphon.testing.crypto_crowd import crowd
from antiphon.testing.crypto_directory import DirectoryApi
from antiphon.testing.crypto_world import World
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.world import until

PEOPLE, EACH = 300, 10


class HeldApi(DirectoryApi):
    """Claims of keys wait until they may go on."""

    def hold(self) -> None:
        self.held = asyncio.Event()
        self.claims = 0

    async def claim_keys(
        self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        self.claims += 1
        await self.held.wait()
        return await super().claim_keys(wanted, timeout_ms)


class People:
    """Who is in which room."""

    def __init__(self, members: Mapping[str, list[str]]):
        self.members_of = members

    async def members(self, room_id: str, membership: str) -> tuple[str, ...]:
        return tuple(self.members_of[room_id]) if membership == "join" else ()

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        return None


class Post:
    """A delivery over the fake homeserver, into rooms that are encrypted."""

    def __init__(self, delivery: Delivery, journal: Journal, clock: SystemClock):
        self.delivery = delivery
        self.journal = journal
        self.clock = clock

    async def entry(self, room: str, name: str) -> Entry:
        content = opening(
            name, Address(EventId("$q")), Mark(TurnId(name), 0, final=True, last=True)
        )
        made = self.delivery.entry(TxnId(name), TurnId(name), RoomId(room), 0, "root", content)
        await self.journal.write(lambda c: outbox.put(c, made, self.clock.now_ms()))
        return made

    async def deliver(self, room: str, name: str) -> EventId:
        return await self.delivery.deliver(await self.entry(room, name), SendClass.FINAL)


@asynccontextmanager
async def post(
    homeserver: FakeHomeserver, folder: Path, cipher: Cipher, *rooms: str
) -> AsyncIterator[Post]:
    bot = homeserver.account("bot")
    clock = SystemClock()
    journal = await Journal.open(f"sqlite:///{folder / 'm.db'}", UserId(bot), "DEVICE")
    async with MatrixClient(homeserver.url, access_token=homeserver.token(bot)) as client:
        rows = [
            {"room_id": room, "membership": "join", "encrypted": True, "updated_ms": 0}
            for room in rooms
        ]
        await journal.write(lambda c: c.execute(room_table.insert(), rows))
        delivery = Delivery(client, journal, SendGate(clock), Metrics(), clock, SyncWatch(), cipher)
        yield Post(delivery, journal, clock)
    await journal.close()


async def test_thousands_of_devices_in_one_room_do_not_delay_another(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    """Though more messages wait for the large one than may be under way at once, the other room's
    goes out; then all of them, sealed."""
    bot = homeserver.account("bot")
    large, small = homeserver.room(bot), homeserver.room(bot)
    async with World(tmp_path) as world:
        someone, ben = await world.join(bot, "DEVICE"), await world.join("@ben:x", "B")
        people = crowd(world.directory, PEOPLE, EACH)
        api = HeldApi(world.directory, bot, "DEVICE", someone.steps)
        api.hold()
        cipher = RoomCipher(
            Crypto(someone.machine, api),
            RoomFacts(People({large: [bot, *people], small: [bot]}), only_cross_signed=False),
            cast("Upkeep", _Nothing()),
            bot,
            SystemClock(),
            only_cross_signed=False,
        )
        async with post(homeserver, tmp_path, cipher, large, small) as of:
            waiting = [
                asyncio.create_task(of.deliver(large, f"large-{number}"))
                for number in range(MOST_AT_ONCE + 4)
            ]
            await until(lambda: api.claims == 1)
            async with asyncio.timeout(5):
                await of.deliver(small, "small-1")
                assert await of.delivery.try_partial(
                    RoomId(small), TxnId("small-2"), {"msgtype": "m.text", "body": "more"}
                )
            assert not any(task.done() for task in waiting)
            api.held.set()
            slowest = 0.0
            for number in range(10):  # while keys are given to thousands
                began = time.monotonic()
                await of.deliver(small, f"meanwhile-{number}")
                slowest = max(slowest, time.monotonic() - began)
            await asyncio.gather(*waiting)
        assert slowest < 10, slowest  # a moment, but on a busy machine
        assert len(world.directory.sent) >= PEOPLE * EACH
        assert ben
    sent = homeserver.room_events(large)
    assert sum(event["type"] == "m.room.encrypted" for event in sent) == MOST_AT_ONCE + 4
    assert not [e for e in sent if e["type"] == "m.room.message"]
    indexes = [event["content"]["ciphertext"] for event in sent if "ciphertext" in event["content"]]
    assert len(set(indexes)) == len(indexes)


class _Nothing:
    def new_sessions(self) -> None:
        """No backup lacks any."""


class Unsettled(FakeCipher):
    """A cipher whose rooms are to be prepared; what prepares them may fail first."""

    def __init__(self, *failures: Exception, spoil: int = 0):
        super().__init__()
        self.failures = list(failures)
        self.spoil = spoil
        self.prepared = 0
        self.fresh = False

    async def prepare(self, room_id: RoomId) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.prepared += 1
        self.fresh = True

    async def seal(self, room_id: RoomId, event_type: str, content: Mapping[str, Any]) -> Any:
        if self.spoil:
            self.spoil -= 1
            self.fresh = False
        if not self.fresh:
            return None
        return await super().seal(room_id, event_type, content)


async def test_what_changed_while_a_send_waited_is_prepared_again(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    room = homeserver.room(homeserver.account("bot"))
    cipher = Unsettled(spoil=2)
    async with post(homeserver, tmp_path, cipher, room) as of:
        await of.deliver(room, "one")
        assert cipher.prepared == 3
        cipher.spoil = 1
        partial = {"msgtype": "m.text", "body": "more"}
        assert not await of.delivery.try_partial(RoomId(room), TxnId("p1"), partial)
        assert await of.delivery.try_partial(RoomId(room), TxnId("p2"), partial)
    assert [event["type"] for event in homeserver.room_events(room)[-2:]] == [
        "m.room.encrypted"
    ] * 2


@pytest.mark.parametrize(
    "failure",
    [RateLimitedError("slow down", 10), HomeserverUnreachableError("away")],
    ids=["limited", "away"],
)
async def test_keys_that_could_not_be_given_are_given_later_and_nothing_is_said_in_the_clear(
    homeserver: FakeHomeserver, tmp_path: Path, failure: Exception
) -> None:
    room = homeserver.room(homeserver.account("bot"))
    async with post(homeserver, tmp_path, Unsettled(failure), room) as of:
        await of.deliver(room, "one")
    assert not homeserver.messages(room, homeserver.account("bot"))


async def test_a_room_that_refuses_its_members_list_is_refused(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    room = homeserver.room(homeserver.account("bot"))
    gone = MatrixApiError("You are not in the room.", 403, "M_FORBIDDEN")
    async with post(homeserver, tmp_path, Unsettled(gone), room) as of:
        with pytest.raises(RoomRefusedError):
            await of.deliver(room, "one")
