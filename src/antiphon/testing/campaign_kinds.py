"""The scenarios of a campaign: what is done to one bot while it owes answers. Each ends when all
is settled or its time is over; judging is the caller's."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from antiphon.testing import campaign_encrypted as encrypted
from antiphon.testing import campaign_master as control_plane
from antiphon.testing.campaign_faults import key_weather, late_edits, weather
from antiphon.testing.campaign_process import Keeper
from antiphon.testing.campaign_trial import SETTLE_S, Room, Trial
from antiphon.testing.campaign_world import pause
from antiphon.testing.checker import Violation

Scenario = Callable[[Trial], Awaitable[None]]

REACHED_S = 20.0
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
    if plan.first.text.startswith(("claim", "unwedge")):
        await trial.settled()  # it takes that from nobody but who it has written to
        await encrypted.unwedge(trial)
        await trial.ask_each(1)
    if plan.stop:
        await _with_stop(trial)
    if not await _died(trial, victim.down):
        trial.notes["not_reached"] = 1.0
    await trial.finish()


async def five_while_down(trial: Trial) -> None:
    """Both are killed while one answer streams; five messages come; both start again."""
    await _mid_answer(trial)
    await trial.adapter.end()
    await trial.agent.end()
    for _ in range(5):
        await trial.ask(trial.rooms[0], "words:8 gap:0.02")
    began = time.monotonic()
    await trial.start()
    await _first_new_answer(trial, began)
    await trial.finish()


async def freeze(trial: Trial) -> None:
    """A process is stopped for a while in mid-answer, and wakes up."""
    await _mid_answer(trial)
    victim = trial.chance.choice((trial.adapter, trial.agent))
    victim.send(signal.SIGSTOP)
    await pause(trial.chance.uniform(0.5, 2.5))
    victim.send(signal.SIGCONT)
    await trial.finish()


async def zombie(trial: Trial) -> None:
    """An adapter is stopped in mid-answer, its lock is lost, another takes over; it wakes up."""
    await _mid_answer(trial)
    first = trial.adapter
    await _stopped(trial, first)
    (trial.state / "matrix.lock").unlink()
    trial.adapter = trial.make_adapter("second")
    try:
        await trial.adapter.start()
        await trial.adapter.ready()
        await pause(trial.chance.uniform(0.0, 2.0))
        first.restarts = False
        first.send(signal.SIGCONT)
        await trial.finish()
        if not await first.down(15.0):
            trial.problems.append(Violation("zombie", "", "", "it goes on after another took over"))
    finally:
        await first.end()
    await trial.settled()


async def lost_response(trial: Trial) -> None:
    """The homeserver's answers are lost, late, cut off, forged."""
    assert trial.proxy is not None
    trial.proxy.rules = weather(trial.chance)
    if trial.plan.encrypted:
        trial.proxy.rules = key_weather(trial.chance) + trial.proxy.rules
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(trial.chance.randint(1, 3))
    await trial.finish(45 if trial.plan.encrypted else SETTLE_S)


async def late_edit(trial: Trial) -> None:
    """Edits that were taken for lost land after the final."""
    assert trial.proxy is not None
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(1, "words:5 gap:0")
    await trial.settled()
    trial.proxy.rules = late_edits(trial.chance)
    await trial.ask_each(1, "words:24 gap:0.05")
    await trial.settled()
    trial.proxy.rules = []
    await pause(3.5)  # what is still under way lands
    await trial.finish()


async def changed(trial: Trial) -> None:
    """Questions are edited and redacted before, while and after they are answered."""
    await trial.start()
    await trial.open_rooms()
    for room in trial.rooms:
        first = await trial.ask(room, trial.chance.choice(("words:40 gap:0.05", "words:6 gap:0")))
        second = await trial.ask(room, trial.how())
        await trial.ask(room, trial.how())
        if trial.chance.random() < 0.8:
            await trial.streaming(first)
        else:
            await trial.settled()
        chosen = trial.chance.choice((first, second))
        for _ in range(trial.chance.randint(1, 2)):
            if trial.chance.random() < 0.6:
                chosen = await trial.edit(room, chosen, trial.how())
                await pause(trial.chance.uniform(0, 0.5))
            else:
                await trial.redact(room, chosen)
                break
    await trial.finish()


async def cut_agent(trial: Trial) -> None:
    """The connection between adapter and agent is cut and stalled again and again."""
    tcp = trial.tcp
    assert tcp is not None
    if trial.chance.random() < 0.5:
        tcp.cut_after = trial.chance.randint(800, 4_000)
    await _mid_answer(trial)
    for _ in range(trial.chance.randint(1, 4)):
        await pause(trial.chance.uniform(0.05, 0.4))
        if trial.chance.random() < 0.3:
            tcp.stall()
            await pause(trial.chance.uniform(0.2, 1.0))
            tcp.flow()
        tcp.cut()
    await pause(0.5)
    tcp.cut_after = None
    await trial.finish()


async def cursor_deleted(trial: Trial) -> None:
    """The cursor is gone at the next start; things were said meanwhile. The first sync is as it is
    now, or (as Synapse does it) the one of the first start from its cache."""
    assert trial.proxy is not None
    trial.proxy.uncached = trial.chance.random() < 0.75
    if trial.chance.random() < 0.5:
        await _mid_answer(trial)
    else:
        await trial.start()
        await trial.open_rooms()
        await trial.ask_each(2)
        await trial.settled()
    await trial.adapter.end()
    with closing(sqlite3.connect(trial.state / "matrix.db")) as connection:
        connection.execute("UPDATE account SET next_batch = NULL")
        connection.commit()
    await trial.ask_each(trial.chance.randint(0, 5), "words:6 gap:0.01")
    await trial.adapter.start()
    await trial.finish()


async def backup_restored(trial: Trial) -> None:
    """The databases of an earlier moment are put back: the adapter's, the agent's, or both."""
    which = trial.chance.choice((("matrix", "state"), ("matrix", "state", "agent"), ("agent",)))
    trial.rewound = "agent" in which
    if trial.chance.random() < 0.5:
        await _mid_answer(trial)
    else:
        await trial.start()
        await trial.open_rooms()
        await trial.ask_each(1)
        await trial.settled()
    for name in which:
        _copy(trial.state / f"{name}.db", trial.folder / f"{name}.backup")
    await trial.ask_each(trial.chance.randint(1, 2))
    await trial.settled()
    await trial.ask(trial.rooms[0], "words:30 gap:0.03")
    await pause(trial.chance.uniform(0.0, 1.5))
    await trial.end()
    for name in which:
        for suffix in ("", "-wal", "-shm"):
            (trial.state / f"{name}.db{suffix}").unlink(missing_ok=True)
        (trial.folder / f"{name}.backup").rename(trial.state / f"{name}.db")
    await trial.start()
    await trial.finish()


async def all_killed(trial: Trial) -> None:
    """Adapter, agent and homeserver die at once in mid-answer."""
    await _mid_answer(trial)
    trial.adapter.send(signal.SIGKILL)
    trial.agent.send(signal.SIGKILL)
    await trial.world.synapse.kill()
    await trial.world.synapse.start()
    await trial.finish(45)


async def synapse_killed(trial: Trial) -> None:
    """The homeserver dies in mid-answer."""
    await _mid_answer(trial)
    await trial.world.synapse.kill()
    await pause(trial.chance.uniform(0, 1))
    await trial.world.synapse.start()
    await trial.finish(45)


async def canaries_50(trial: Trial) -> None:
    """Fifty chats at once, faults everywhere, both processes killed on the way."""
    assert trial.proxy is not None
    trial.proxy.rules = weather(trial.chance)
    await trial.start()
    await trial.open_rooms()
    await trial.ask_each(2)
    trial.adapter.send(signal.SIGKILL)
    await pause(trial.chance.uniform(2, 5))
    trial.agent.send(signal.SIGKILL)
    await trial.finish(45)


def _copy(source: Path, target: Path) -> None:
    """A consistent copy of a database that is in use."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def _stopped(trial: Trial, victim: Keeper) -> None:
    """Stops a process between its transactions: one that is stopped within holds the database, and
    whoever would take over is refused, and says so (SQLite)."""
    while True:
        victim.send(signal.SIGSTOP)
        if all(_is_free(trial.state / name) for name in ("matrix.db", "matrix-keys.db")):
            return
        victim.send(signal.SIGCONT)
        await pause(0.05)


def _is_free(database: Path) -> bool:
    """Whether nobody is writing into it now."""
    if not database.exists():
        return True
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True


async def _mid_answer(trial: Trial) -> None:
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
    """Someone stops a long answer in mid-stream, and whatever is still open before it."""
    room = trial.rooms[0]
    tag = await trial.ask(room, "words:80 gap:0.05")
    await trial.streaming(tag)
    await trial.stop(room)


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
    "lost_response": lost_response,
    "late_edit": late_edit,
    "changed": changed,
    "cut_agent": cut_agent,
    "freeze": freeze,
    "zombie": zombie,
    "cursor_deleted": cursor_deleted,
    "backup_restored": backup_restored,
    "five_while_down": five_while_down,
    "all_killed": all_killed,
    "synapse_killed": synapse_killed,
    "canaries_50": canaries_50,
    "master_killed": control_plane.master_killed,
    "encrypted_device": encrypted.device,
    "encrypted_members": encrypted.members,
    "encrypted_on": encrypted.switched_on,
}
"""By the name that `Plan.play` has."""
