"""Rooms of the homeserver against those of the journal; nothing is joined or acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.adapter.matrix.doctor import rooms as check
from antiphon.adapter.matrix.doctor.rooms import Drift
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.ids import UserId
from antiphon.errors import StateError
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.patient import patient
from antiphon.testing.world import World


@pytest.fixture
async def world(homeserver: FakeHomeserver, tmp_path: Path) -> World:
    made = World(homeserver, tmp_path / "state")
    made.state.mkdir(mode=0o700)
    made.room = homeserver.room(made.ada, made.bot)
    return made


async def look(world: World) -> Drift:
    """The check, which must only ask for lists, and sync from no place."""
    asked = len(world.server.requests)
    async with MatrixClient(world.server.url, access_token=world.adapter.token) as client:
        found = await check.look(
            patient(world.state, homeserver=world.server.url), client, UserId(world.bot)
        )
    for request in world.server.requests[asked:]:
        assert request.op in ("joined_rooms", "sync")
        assert "since" not in request.query
    return found


async def test_before_the_first_start_rooms_are_counted(world: World) -> None:
    rooms = check.drift(await look(world), None)
    assert rooms.level == "ok"
    assert "1 joined; no journal yet" in rooms.detail


async def test_the_same_rooms_are_ok(world: World) -> None:
    await world.adapter.reconcile()
    rooms = check.drift(await look(world), None)
    assert (rooms.level, rooms.detail) == ("ok", "1 joined, as the journal has them.")


async def test_every_drift_is_a_warning_with_counts(world: World) -> None:
    await world.adapter.reconcile()
    world.server.room(world.ada, world.bot)
    world.server.membership(world.room, world.bot, "leave", by=world.ada)
    for inviter in (world.ada, "@eve:evil.example"):
        room = world.server.room(inviter)
        world.server.membership(room, world.bot, "invite", by=inviter)
    found = await look(world)
    rooms = check.drift(found, None)
    assert rooms.level == "warning"
    for words in ("1 that the journal", "1 in the journal", "1 pending invites to accept"):
        assert words in rooms.detail
    assert "1 pending invites to decline" in rooms.detail
    assert "antiphon matrix reconcile" in rooms.todo
    assert "running adapter" in check.drift(found, 7).todo


async def test_encrypted_rooms_are_counted(world: World) -> None:
    world.server.event(
        world.room,
        "m.room.encryption",
        world.ada,
        {"algorithm": "m.megolm.v1.aes-sha2"},
        state_key="",
    )
    await world.adapter.reconcile()
    assert (await look(world)).encrypted == 1
    world.server.membership(world.room, world.bot, "leave", by=world.bot)
    assert (await look(world)).encrypted == 0


async def test_a_journal_that_can_not_be_read_is_an_error(world: World) -> None:
    (world.state / "matrix.db").write_bytes(b"a letter to my mother\n" * 500)
    with pytest.raises(StateError):
        await look(world)
