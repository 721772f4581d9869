"""kill -9 at every crash point of encryption, one after the other, while an independent client
(matrix-js-sdk, Rust crypto) talks with the bot in encrypted rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.campaign_encrypted import delete_backup, prepare, unwedge
from antiphon.testing.campaign_plan import Plan
from antiphon.testing.campaign_trial import Trial
from antiphon.testing.campaign_world import World
from antiphon.testing.crash_points import crash_points
from antiphon.testing.model_server import ModelServer

STARTING = (
    *("keys.opened", "upload.sent"),
    *("identity.made", "identity.published", "identity.signed"),
)
"""Points of a device's first start, before which nobody can write to it."""
TALKING = (
    *("share.before_send", "share.sent", "share.ready", "seal.encrypted"),
    *("keys.received@2", "keys.before_commit@3", "keys.committed@4"),
    *("claim.answered", "unwedge.sent"),
    *("identity.backup_begun", "identity.backed_up"),
)
"""Points that a conversation comes by. (A one-time key is claimed for a device that lost its
session with the bot.)"""


def test_every_point_of_encryption_has_its_turn() -> None:
    points = {point.name for point in crash_points() if point.encrypted}
    assert points == {order.partition("@")[0] for order in (*STARTING, *TALKING)}


@pytest.fixture
async def trial(synapse: Synapse, js: object, tmp_path: Path) -> AsyncIterator[Trial]:
    """A bot, and a room for each point, on the homeserver of all tests."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ModelServer(words=6, gap=0))
        world = World(tmp_path, synapse, model, [], stack)
        await world.prepare()
        bot = await world.bot()
        plan = Plan(1, 0, "encrypted_kill", len(TALKING), encrypted=True, recovery=True)
        made = Trial(world, plan, tmp_path, bot)
        stack.push_async_callback(made.end)
        await world.state(made.state, bot, synapse.url)
        yield made


async def dies(trial: Trial, order: str) -> None:
    """A life of the adapter that ends at this point."""
    assert await trial.adapter.down(30), f"it never came to {order}"
    assert trial.adapter.died_at[-1] == order


async def lives(trial: Trial, order: str = "") -> None:
    """Another life of the adapter, and none after it."""
    trial.adapter.order(order)
    await trial.adapter.start()
    trial.adapter.restarts = False


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_question_has_one_answer_that_can_be_read(trial: Trial) -> None:
    """Two for each point: asked of the life that dies there, and while it is dead. Everything was
    encrypted, with no key twice, and the client that trusts only signed devices reads all of it."""
    await trial.agent.start()
    for order in STARTING:
        await lives(trial, order)
        await dies(trial, order)
    await lives(trial)
    await trial.open_rooms()
    person = await trial.world.sealed()
    for room in trial.rooms:
        await person.js.joined_by(room.room_id, trial.bot.user_id)
    await trial.adapter.end()
    await prepare(trial)
    for order, room in zip(TALKING, trial.rooms, strict=True):
        if order == "identity.backup_begun":
            await delete_backup(trial)
        await lives(trial, order)
        await trial.ask(room)
        if order == "claim.answered":
            await unwedge(trial)
        await dies(trial, order)
        await trial.ask(room)
    await lives(trial)
    await trial.finish()
    assert await trial.verdict() == ()
    assert trial.sealed_events >= 3 * len(TALKING)
    for room in trial.rooms:
        assert await person.js.undecrypted(room.room_id) == ()
    identity = await person.js.identity(trial.bot.user_id)
    assert identity.has_keys
    assert not identity.needs_approval
