"""Rate limits, seen by requests that leave no trace. (The real ones: tests/live.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.adapter.matrix.doctor import limits as check
from antiphon.adapter.matrix.doctor.finding import Finding
from antiphon.adapter.matrix.doctor.homeserver import Seen
from antiphon.adapter.matrix.transport.http import Http
from antiphon.clock import SystemChance, SystemClock
from antiphon.errors import HomeserverUnreachableError
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Fault, error, html, limited
from antiphon.testing.world import World

REFUSED = error(403, "M_FORBIDDEN")
NO_DELAY = Fault(
    taken=False,
    status=403,
    body=b'{"errcode": "M_FORBIDDEN", "error": "Sending delayed events has been disallowed"}',
    headers={"Content-Type": "application/json"},
)


@pytest.fixture
async def world(homeserver: FakeHomeserver, tmp_path: Path) -> World:
    made = World(homeserver, tmp_path / "state")
    made.room = homeserver.room(made.ada, made.bot)
    return made


async def look(
    world: World, *, adapter: int | None = None, software: str = "Synapse 1.163.2"
) -> Finding:
    """The check, after which no room may have a new event."""
    before = world.server.room_events(world.room)
    seen = Seen(
        base_url=world.server.url,
        discovered=False,
        latency_s=0.01,
        versions=("v1.12",),
        software=software,
        skew_s=None,
    )
    async with Http(world.server.url, world.adapter.token) as http:
        found = await check.limits(http, seen, world.bot, adapter, SystemClock(), SystemChance())
    assert world.server.room_events(world.room) == before
    return found


def not_lifted(world: World) -> None:
    """Synapse's limiter of hierarchies: ten at once."""
    world.server.fail("hierarchy", REFUSED, 10)
    world.server.fail("hierarchy", limited(200), 50)


async def test_a_lifted_limit_is_ok_and_no_send_is_tried(world: World) -> None:
    found = await look(world)
    assert (found.level, found.detail) == ("ok", f"Lifted for {world.bot}.")
    assert world.server.asked("send") == []


async def test_a_limit_is_a_warning_with_what_was_seen_and_the_command(world: World) -> None:
    not_lifted(world)
    world.server.fail("send", NO_DELAY, 10)
    world.server.fail("send", limited(5000), 10)
    found = await look(world)
    assert found.level == "warning"
    assert "after 10 sends at once (HTTP 429, the next one in 5 s)" in found.detail
    assert "full speed is back in 50 s" in found.detail
    assert "antiphon matrix provision" in found.todo
    user = world.bot.replace("@", "%40").replace(":", "%3A")
    assert f"/_synapse/admin/v1/users/{user}/override_ratelimit" in found.todo
    assert "rc_message" in found.todo


async def test_an_account_with_nothing_left_is_a_warning(world: World) -> None:
    not_lifted(world)
    world.server.fail("send", limited(4000), 20)
    found = await look(world)
    assert "limits every send (HTTP 429, the next one in 4 s)" in found.detail


async def test_sends_that_were_counted_and_let_through_are_ok(world: World) -> None:
    not_lifted(world)
    world.server.fail("send", NO_DELAY, 20)
    found = await look(world)
    assert (found.level, found.detail) == ("ok", "12 sends at once were let through.")


async def test_where_sends_are_not_counted_it_says_that_it_can_not_know(world: World) -> None:
    """An older Synapse, which sees only that we are not in the room."""
    not_lifted(world)
    found = await look(world)
    assert found.level == "ok"
    assert "can't be measured" in found.detail


async def test_what_is_tried_can_never_become_an_event(world: World) -> None:
    """A room that does not exist, and a delay that no server takes."""
    not_lifted(world)
    await look(world)
    sends = world.server.asked("send")
    assert len(sends) == check.SENDS
    assert all(send.path["room_id"].endswith(":doctor.invalid") for send in sends)
    assert all(int(send.query["org.matrix.msc4140.delay"]) > 3e12 for send in sends)


async def test_beside_a_running_adapter_nothing_is_taken_from_it(world: World) -> None:
    """One request, of a type that no event can have."""
    not_lifted(world)
    world.server.fail("send", error(413, "M_TOO_LARGE"))
    found = await look(world, adapter=77)
    assert found.level == "ok"
    assert "process 77" in found.detail
    (send,) = world.server.asked("send")
    assert len(send.path["event_type"].encode()) > 255


async def test_beside_a_running_adapter_a_limit_that_bites_is_seen(world: World) -> None:
    not_lifted(world)
    world.server.fail("send", limited(3000))
    found = await look(world, adapter=0)
    assert (found.level, "the next send in 3 s" in found.detail) == ("warning", True)
    assert "provision" in found.todo


async def test_beside_a_running_adapter_without_rooms_nothing_is_sent(world: World) -> None:
    world.server.membership(world.room, world.bot, "leave", by=world.bot)
    not_lifted(world)
    assert (await look(world, adapter=77)).level == "ok"
    assert world.server.asked("send") == []


async def test_another_homeserver_is_not_measured(world: World) -> None:
    found = await look(world, software="Fake 1.0")
    assert found.level == "ok"
    assert "can't be seen" in found.detail
    assert world.server.requests == []


async def test_trouble_is_an_error(world: World) -> None:
    world.server.fail("hierarchy", html())
    with pytest.raises(HomeserverUnreachableError):
        await look(world)
