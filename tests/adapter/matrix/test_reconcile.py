"""`antiphon matrix reconcile`: all that is owed is finished, and then there is nothing to do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.adapter.matrix.app import run
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.transport.login import StoredLogin, save
from antiphon.errors import HomeserverUnreachableError
from antiphon.sdk.interface import Progress, Run
from antiphon.settings import AgentSettings, General, MatrixSettings, Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.platform import FakePlatform
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World


@pytest.fixture
async def world(kept: str, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path / "state")
        made.state.mkdir()
        made.room = server.room(made.ada, made.bot)
        async with kept_by(kept, made.platform, tmp_path):
            yield made


def json(report: Report) -> Any:
    return msgspec.json.decode(report.as_json())


async def nothing_more(world: World) -> None:
    """A second run right after the first changes nothing, and says so."""
    changing = ("send", "redact", "join", "leave", "login", "set_state")
    before = [r for r in world.server.requests if r.op in changing]
    again = await world.adapter.reconcile()
    assert again.nothing, again.lines()
    assert json(again)["nothing_to_do"] is True
    assert again.lines()[-1] == "Nothing to do: all is as it should be."
    assert [r for r in world.server.requests if r.op in changing] == before


async def test_a_first_run_adopts_the_rooms_and_ends(world: World) -> None:
    world.ask("said before anybody listened")
    report = await world.adapter.reconcile()
    assert report.first_start
    assert report.adopted == [world.room]
    assert world.shown() == []
    await nothing_more(world)


async def test_questions_that_wait_are_answered_before_it_ends(world: World) -> None:
    await world.adapter.reconcile()
    for number in range(3):
        world.ask(f"q{number}")
    report = await world.adapter.reconcile()
    assert world.shown() == [f"You said: q{number}" for number in range(3)]
    assert (report.questions, report.owed.queued) == (3, 3)
    assert report.ended == {"delivered": 3}
    assert report.left is not None
    assert report.left.nothing
    await nothing_more(world)


async def test_a_half_finished_message_is_completed(world: World) -> None:
    gate = asyncio.Event()
    world.platform.reply("half", gate, " whole")
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.ask("hi")
            await world.server.until(lambda: world.shown() == ["half"])
            await world.adapter.crash(task)
    gate.set()
    report = await world.adapter.reconcile()
    assert report.owed.running == 1
    assert world.shown() == ["half whole"]
    assert len(world.platform.runs) == 1
    await nothing_more(world)


def changed(world: World, *statements: str) -> None:
    """The journal as it would be after something else had happened."""
    with sqlite3.connect(world.state / "matrix.db") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def next_batch(world: World) -> str:
    with sqlite3.connect(world.state / "matrix.db") as database:
        found = database.execute("SELECT next_batch FROM account").fetchone()
    database.close()
    return str(found[0])


UNCONFIRMED = (
    "UPDATE outbox SET state = 'pending', event_id = NULL",
    "UPDATE turn SET state = 'answered'",
)


async def test_an_uncertain_send_is_repeated_under_its_own_id(world: World) -> None:
    """The homeserver took it; its answer was lost with the process."""
    with contextlib.suppress(asyncio.CancelledError):
        async with world.adapter.running() as task:
            world.server.fail("send", faults.held(asyncio.Event()))
            world.ask("hi")
            await world.server.until(lambda: len(world.roots()) == 1)
            world.server.fail("sync", faults.html(), times=100)
            await world.adapter.crash(task)
    world.server.faults.clear()
    report = await world.adapter.reconcile()
    assert report.questions + report.owed.turns + report.answered_already >= 1
    assert world.shown() == ["You said: hi"]
    assert len(world.roots()) == 1
    await nothing_more(world)


@pytest.mark.parametrize("device", ["DEVICE", "OTHER"])
async def test_an_uncertain_send_that_the_room_shows_is_not_repeated(
    world: World, device: str
) -> None:
    """Also where the homeserver would not know its id: we are another device now."""
    await world.adapter.reconcile()
    before = next_batch(world)
    async with world.adapter.running():
        world.ask("hi")
        await world.answered()
    changed(
        world,
        *UNCONFIRMED,
        "DELETE FROM own_event",
        f"UPDATE account SET next_batch = '{before}'",
    )
    sent = len(world.server.asked("send"))
    world.adapter.device_id = device
    world.adapter.token = world.server.token(world.bot, device)
    report = await world.adapter.reconcile()
    assert report.answered_already == 1
    assert report.device_changed == (device == "OTHER")
    assert ("Warning: this is another device" in "\n".join(report.lines())) == (device == "OTHER")
    assert len(world.server.asked("send")) == sent
    await nothing_more(world)


async def test_invites_are_decided_and_what_came_with_them_is_answered(world: World) -> None:
    eve = "@eve:evil.example"
    await world.adapter.reconcile()
    wanted, unwanted = world.server.room(world.ada), world.server.room(eve)
    world.server.membership(wanted, world.bot, "invite", by=world.ada)
    world.ask("hello", wanted)
    world.server.membership(unwanted, world.bot, "invite", by=eve)
    report = await world.adapter.reconcile()
    found = {(i.room_id, i.inviter, i.allowed) for i in report.invites}
    assert found == {(wanted, world.ada, True), (unwanted, eve, False)}
    assert world.shown(wanted) == ["You said: hello"]
    assert world.server.rooms.membership(unwanted, world.bot)[0] == "leave"
    await nothing_more(world)


async def test_missed_messages_are_read_back(world: World) -> None:
    await world.adapter.reconcile()
    world.server.timeline_limit = 3
    for number in range(9):
        world.ask(f"q{number}")
    report = await world.adapter.reconcile()
    assert report.owed.gaps == (world.room,)
    assert world.shown() == [f"You said: q{number}" for number in range(9)]
    await nothing_more(world)


async def test_rooms_that_went_are_closed_and_new_ones_adopted(world: World) -> None:
    """Whatever /sync says: the homeserver's list of rooms decides."""
    await world.adapter.reconcile()
    changed(world, f"UPDATE room SET room_id = '!gone:hs' WHERE room_id = '{world.room}'")
    report = await world.adapter.reconcile()
    assert (report.adopted, report.closed) == ([world.room], ["!gone:hs"])
    await nothing_more(world)


async def test_an_upgraded_room_is_followed(world: World) -> None:
    async with world.adapter.running():
        world.ask("before")
        await world.answered()
    create = ("m.room.create", "", {"predecessor": {"room_id": world.room}})
    rules = ("m.room.join_rules", "", {"join_rule": "public"})
    new = world.server.rooms.new_room(world.ada, [create, rules])
    tombstone = {"replacement_room": new}
    world.server.event(world.room, "m.room.tombstone", world.ada, tombstone, state_key="")
    report = await world.adapter.reconcile()
    assert report.upgraded == [world.room]
    assert world.server.rooms.membership(new, world.bot)[0] == "join"
    await nothing_more(world)


async def test_redactions_and_debts_are_paid(world: World) -> None:
    async with world.adapter.running():
        question = world.ask("secret?")
        await world.answered()
    world.server.redact(world.room, world.ada, question)
    report = await world.adapter.reconcile()
    assert report.owed.redactions == len(world.server.messages(world.room, world.bot))
    assert report.owed.debts == 1
    assert not [e for e in world.server.messages(world.room, world.bot) if e["content"]]
    assert len(world.platform.withdrawn) == 1
    await nothing_more(world)


class PatientPlatform(FakePlatform):
    """Waits for an agent that is away, as the real one does for `answer_timeout_s`."""

    async def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        while self.unreachable:
            await asyncio.sleep(0.01)
        async with contextlib.aclosing(super().answer(run)) as progress:
            async for now in progress:
                yield now


async def test_without_an_agent_the_rest_is_done_and_it_says_what_waits(world: World) -> None:
    """It does not wait for one: what needs the agent stays owed."""
    world.platform = PatientPlatform()
    world.adapter = world.life()
    await world.adapter.reconcile()
    world.platform.unreachable = True
    other = world.server.room(world.ada)
    world.server.membership(other, world.bot, "invite", by=world.ada)
    world.ask("q0")
    world.ask("!help")
    world.ask("!help", other)
    began = asyncio.get_running_loop().time()
    report = await world.adapter.reconcile(30)
    assert asyncio.get_running_loop().time() - began < 10
    assert report.left is not None
    assert report.left.turns_for_agent == report.left.turns == 2
    assert report.waits == ["The agent does not answer."]
    assert "The agent does not answer." in "\n".join(report.lines())
    assert len(world.shown(other)) == 1, "another chat waits for nobody"
    world.platform.unreachable = False
    again = await world.adapter.reconcile()
    assert again.left is not None
    assert again.left.nothing
    assert world.shown()[0] == "You said: q0"
    await nothing_more(world)


async def test_what_is_not_done_in_time_stays_owed(world: World) -> None:
    await world.adapter.reconcile()
    gate = asyncio.Event()
    world.platform.reply("slow", gate)
    world.ask("hi")
    report = await world.adapter.reconcile(1)
    assert report.left is not None
    assert report.left.running == 1
    assert report.waits == ["not finished within 1 s"]
    gate.set()
    await world.adapter.reconcile()
    assert world.shown() == ["slow"]
    await nothing_more(world)


async def test_a_homeserver_that_goes_away_is_an_error_and_nothing_is_sent(world: World) -> None:
    async with world.adapter.running():
        pass
    world.ask("hi")
    world.server.fail("sync", faults.html(), times=100)
    with pytest.raises(HomeserverUnreachableError, match="within 1 s"):
        await world.adapter.reconcile(1)
    assert not world.server.asked("send")
    world.server.faults.clear()
    await world.adapter.reconcile()
    assert world.shown() == ["You said: hi"]


async def test_a_homeserver_that_is_away_is_not_waited_for(world: World) -> None:
    """An adapter that stays would wait; a command must come back. Nothing is changed."""
    save(world.state, StoredLogin(world.bot, "DEVICE", Secret("token"), "http://127.0.0.1:9"))
    general = General(state_dir=str(world.state))
    matrix = MatrixSettings(homeserver="http://127.0.0.1:9", user=world.bot)
    with pytest.raises(HomeserverUnreachableError):
        await run(general, matrix, AgentSettings(), stop=asyncio.Event(), until_idle=5)
    assert {file.name for file in world.state.iterdir()} == {"matrix-login.json", "matrix.lock"}


async def test_a_lost_cursor_is_said_and_nothing_is_replayed(world: World) -> None:
    async with world.adapter.running():
        world.ask("hi")
        await world.answered()
    world.ask("later")
    changed(world, "UPDATE account SET next_batch = NULL")
    report = await world.adapter.reconcile()
    assert report.cursor_lost
    assert world.shown() == ["You said: hi", "You said: later"]
    await nothing_more(world)


def test_the_keys_of_the_json_are_stable() -> None:
    """Scripts read them; docs/operate.md lists them."""
    found = json(Report(user_id="@bot:hs", device_id="DEV"))
    owed = {
        "queued", "running", "waiting", "answered", "unconfirmed_sends", "redactions", "debts",
        "invites", "joining", "gaps", "upgrades", "uninvited", "turns_for_agent",
    }  # fmt: skip
    assert set(found) == {
        "dry_run", "user_id", "device_id", "device_changed", "cursor_lost", "first_start",
        "nothing_to_do", "rooms", "invites", "news", "owed", "left", "ended", "waits", "unknown",
    }  # fmt: skip
    assert set(found["rooms"]) == {"adopted", "closed", "upgraded", "poisoned"}
    assert set(found["news"]) == {"questions", "answered_already", "edited_or_redacted"}
    assert set(found["owed"]) == owed
    page = (Path(__file__).parents[3] / "docs" / "operate.md").read_text(encoding="utf-8")
    for key in {*found, *found["rooms"], *found["news"], *owed}:
        assert f"`{key}`" in page, key
