"""The scenarios of a campaign: what is done to one bot while it owes answers. Each ends when all
is settled or its time is over; judging is the caller's."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable

from antiphon.testing.campaign_trial import Room, Trial
from antiphon.testing.campaign_world import pause

Scenario = Callable[[Trial], Awaitable[None]]

REACHED_S = 12.0
"""Longest wait for a process to come to the point where it is to die."""


async def kill(trial: Trial) -> None:
    """One process dies at its point, perhaps others while it recovers."""
    plan = trial.plan
    assert plan.first is not None
    victim = trial.agent if plan.first.process == "agent" else trial.adapter
    if plan.gap:
        await _with_gap(trial)
    else:
        await trial.start()
        await trial.open_rooms()
        await trial.ask_each(trial.chance.randint(1, 3))
    if plan.stop:
        await _with_stop(trial)
    if not await _died(trial, victim.down):
        trial.notes["not_reached"] = 1.0
    await trial.settled()
    await trial.probed()


async def five_while_down(trial: Trial) -> None:
    """Both are killed while one answer streams; five messages come; both start again."""
    await _mid_answer(trial, rooms=1)
    await trial.adapter.end()
    await trial.agent.end()
    for _ in range(5):
        await trial.ask(trial.rooms[0], "words:8 gap:0.02")
    began = time.monotonic()
    await trial.start()
    await _first_new_answer(trial, began)
    await trial.settled()
    await trial.probed()


async def freeze(trial: Trial) -> None:
    """A process is stopped for a while in mid-answer, and wakes up."""
    await _mid_answer(trial)
    victim = trial.chance.choice((trial.adapter, trial.agent))
    victim.send(signal.SIGSTOP)
    await pause(trial.chance.uniform(0.5, 2.5))
    victim.send(signal.SIGCONT)
    await trial.settled()
    await trial.probed()


async def _mid_answer(trial: Trial, rooms: int = 0) -> None:
    """Starts both, opens the rooms, asks in each, and returns while an answer streams."""
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(trial.chance.randint(1, 2))
    tag = await trial.ask(trial.rooms[0], "words:30 gap:0.05")
    await trial.streaming(tag)


async def _with_gap(trial: Trial) -> None:
    """More is said while the adapter is down than one sync tells."""
    await trial.agent.start()
    plans = trial.adapter.take_plans()
    await trial.adapter.start()
    await trial.open_rooms()
    await trial.ask_each(1)
    await trial.settled()
    await trial.adapter.end()
    room = trial.rooms[0]
    await trial.ask(room, "words:6 gap:0")
    await notices(room, 60)
    await trial.ask(room, "words:6 gap:0")
    trial.adapter.order(*plans)
    await trial.adapter.start()


async def _with_stop(trial: Trial) -> None:
    """Someone stops a long answer in mid-stream."""
    room = trial.rooms[0]
    tag = await trial.ask(room, "words:80 gap:0.05", expected="stoppable")
    await trial.streaming(tag)
    await trial.ask(room, expected="reply", text="!stop")


async def notices(room: Room, count: int) -> None:
    """Says what nobody answers, often."""
    for number in range(count):
        await room.person.say(room.room_id, f"notice {number}", msgtype="m.notice")


async def _died(trial: Trial, down: Callable[[float], Awaitable[bool]]) -> bool:
    """Waits until the victim dies, or everything was answered without that."""
    end = time.monotonic() + REACHED_S
    while time.monotonic() < end:
        if await down(0.3):
            return True
        if await trial.settled(0):
            return await down(0)
    return False


async def _first_new_answer(trial: Trial, began: float) -> None:
    before = len(trial.world.model.requests)
    while time.monotonic() < began + 20 and len(trial.world.model.requests) <= before:
        await pause(0.05)
    trial.notes["first_model_call_s"] = round(time.monotonic() - began, 2)


SCENARIOS: dict[str, Scenario] = {
    "kill": kill,
    "five_while_down": five_while_down,
    "freeze": freeze,
}
