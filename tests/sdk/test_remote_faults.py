"""RemoteState behind a network that cuts, delays, truncates and forges answers: it counts as away,
nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.testing.fault_proxy import FaultProxy, Rule
from antiphon.testing.homeserver_faults import Fault
from antiphon.testing.remote_worlds import LIMITS, RemoteWorld, remote_world, settled

BOT, ANNA = UserId("@bot:x"), UserId("@anna:x")
ROOM = RoomId("!room:x")
PLACE = Place("matrix", BOT, ROOM)
QUICK = msgspec.structs.replace(LIMITS, ask_s=2.0)

FAULTS = {
    "lost request": Fault(taken=False, drop=True),
    "lost answer": Fault(drop=True),
    "truncated": Fault(truncate=True),
    "slow": Fault(delay_s=5.0),
    "500": Fault(status=500, body=b'{"error": {"code": "internal", "message": "x"}}'),
    "503 before": Fault(taken=False, status=503, body=b"no"),
    "page of a proxy": Fault(status=200, body=b"<html>Bad gateway</html>"),
    "another's JSON": Fault(status=200, body=b'{"hello": [1, 2]}'),
    "another's 404": Fault(taken=False, status=404, body=b"<html>not here</html>"),
    "too many": Fault(taken=False, status=429, body=b"{}"),
    "elsewhere": Fault(taken=False, status=302, headers={"Location": "http://127.0.0.1:9/"}),
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RemoteWorld]:
    async with remote_world(tmp_path, lambda: None) as world:
        yield world


def used(number: int) -> UsageEntry:
    return UsageEntry(RunId(f"t{number}.0"), ANNA, ROOM, 1_000, 10, 5, 1.0)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_network_is_as_good_as_away(world: RemoteWorld, name: str) -> None:
    """The same calls give what they would give, and arrive once when it is over."""
    async with FaultProxy(world.plane.url) as proxy:
        state = await world.open(url=proxy.url, limits=QUICK)
        chat = await state.chat(PLACE)
        proxy.rules = [Rule(("other",), FAULTS[name])]
        assert await state.chat(PLACE) == chat
        session = await state.new_session(chat.chat_id, "r1")
        await state.set_role("@ada:x", Role.ADMIN, by=ANNA, request_id="r2")
        await state.record_usage((used(1),))
        assert (await state.chat(PLACE)).session == session
        assert [grant.pattern for grant in (await state.rules()).grants] == ["@ada:x"]
        assert not (await state.health()).ok
        proxy.rules = []
        await settled(state)
        other = await world.open()
        assert (await other.chat(PLACE)).session.thread_id == session.thread_id
        assert [grant.pattern for grant in (await other.rules()).grants] == ["@ada:x"]
        assert (await other.usage(since_ms=0)).turns == 1
        assert (await state.health()).conflicts == ()


async def test_a_busy_time_of_faults_and_restarts_loses_nothing_and_keeps_the_order(
    world: RemoteWorld,
) -> None:
    """Forty chats at once, each counting up a setting of its own and what it used, while the
    control plane is stopped and started and its answers are lost by chance: at the end each has its
    last value, each run was counted once, and each chat has the sessions that it was given."""
    chance = random.Random(5)
    rules = [Rule(("other",), fault, chance=0.04) for fault in FAULTS.values() if not fault.delay_s]
    async with FaultProxy(world.plane.url, seed=5, rules=rules) as proxy:
        state = await world.open(url=proxy.url, limits=QUICK)
        given: dict[int, list[str]] = {}

        async def chat(number: int) -> None:
            place = Place("matrix", BOT, RoomId(f"!room{number}:x"))
            scope = Scope("room", "matrix", place.room)
            given[number] = [(await state.chat(place)).session.thread_id]
            for step in range(1, 6):
                await asyncio.sleep(chance.random() / 4)
                await state.set_setting(
                    scope, "queued_turns", step, by=ANNA, request_id=f"{number}-{step}"
                )
                await state.record_usage((used(number * 10 + step),))
                if step % 2:
                    found = await state.chat(place)
                    session = await state.new_session(found.chat_id, f"new-{number}-{step}")
                    given[number].append(session.thread_id)
                assert (await state.chat(place)).session.thread_id == given[number][-1]
                resolved = await state.resolve(place, ANNA)
                assert resolved.queued_turns == step

        async def restarts() -> None:
            for _ in range(3):
                await asyncio.sleep(0.4)
                await world.plane.stop()
                await asyncio.sleep(0.4)
                await world.plane.start()

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(restarts())
            for number in range(40):
                group.create_task(chat(number))
        proxy.rules = []
        await settled(state, 60)
        other = await world.open()
        for number in range(40):
            place = Place("matrix", BOT, RoomId(f"!room{number}:x"))
            there = await other.chat(place)
            assert there.session.thread_id == given[number][-1]
            threads = [one.thread_id for one in await other.sessions(there.chat_id)]
            assert [one for one in threads if one in given[number]] == given[number]
            found = await other.settings(Scope("room", "matrix", place.room))
            assert found == {"queued_turns": 5}
        assert (await other.usage(since_ms=0)).turns == 200
        assert (await state.health()).conflicts == (), json.dumps((await state.health()).conflicts)
