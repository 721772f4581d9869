"""The scenario of a campaign in which a control plane keeps chats, settings and usage: it is killed
again and again, at its own points and at any moment, and the adapter where it writes down or tells
what the control plane does not know yet."""

from __future__ import annotations

import secrets
import signal
import sqlite3
import time
from contextlib import closing

from antiphon.testing.campaign_process import Keeper
from antiphon.testing.campaign_trial import TOKEN, Room, Trial
from antiphon.testing.campaign_world import pause
from antiphon.testing.checker import Violation
from antiphon.testing.ports import kept_port

TOLD_S = 20.0
"""Longest wait, after the last answer, until the control plane knows everything."""


async def master_killed(trial: Trial) -> None:
    """Questions go on over three deaths of the control plane, also in a room that is new to it."""
    chance, port = trial.chance, kept_port()
    master = Keeper(
        "master",
        ("master", "serve"),
        {
            "ANTIPHON_STATE_DIR": str(trial.folder / "master"),
            "ANTIPHON_LOG_FORMAT": "json",
            "ANTIPHON_MASTER__TOKEN": TOKEN,
            "ANTIPHON_MASTER__PORT": str(port),
        },
        trial.folder,
        plans=tuple(
            f"{chance.choice(('master.before_commit', 'master.committed'))}@{chance.randint(1, 4)}"
            for _ in range(chance.randint(0, 2))
        ),
        mutant=trial.mutant,
    )
    trial.more_keepers.append(master)
    trial.more |= {
        "ANTIPHON_MASTER__URL": f"http://127.0.0.1:{port}",
        "ANTIPHON_MASTER__TOKEN": TOKEN,
    }
    orders = [
        f"{name}@{chance.randint(1, 3)}"
        for name in ("remote.queued", "remote.told")
        if chance.random() < 0.5
    ]
    trial.adapter = trial.make_adapter("adapter", tuple(orders))
    await master.start()
    try:
        await master.ready()
        await trial.start()
        await trial.open_rooms()
        await trial.adapter.ready()
        for death in range(3):
            await trial.ask_each(1)
            await pause(chance.uniform(0.0, 1.5))
            master.restarts = False
            master.send(signal.SIGKILL)
            await trial.ask_each(1)
            if death == 1:
                await _new_room(trial)
            await pause(chance.uniform(0.0, 2.0))
            await master.end()
            await master.start()
            await master.ready()
            await pause(chance.uniform(0.0, 5.0))  # sometimes found again, sometimes not
        await trial.finish()
        await _told(trial)
    finally:
        await master.end()


async def _new_room(trial: Trial) -> None:
    """A chat that begins while nobody keeps it."""
    person, canary = trial.rooms[0].person, secrets.token_hex(5)
    room = Room(await person.room(trial.bot.user_id), person, canary)
    trial.rooms.append(room)
    await trial.ask(room, "words:5 gap:0.02")


async def _told(trial: Trial) -> None:
    """Nothing waits any more, and nothing was not taken as it was."""
    end, waiting = time.monotonic() + TOLD_S, 1
    while waiting and time.monotonic() < end:
        await pause(0.2)
        waiting, conflicts = _kept(trial)
    trial.notes["conflicts"] = conflicts
    if waiting or conflicts:
        detail = f"{waiting} changes wait, {conflicts} were not taken as they were"
        trial.problems.append(Violation("untold", "", "", detail))


def _kept(trial: Trial) -> tuple[int, int]:
    uri = f"file:{trial.state / 'control.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
        (waiting,) = connection.execute("SELECT count(*) FROM queue").fetchone()
        (conflicts,) = connection.execute("SELECT count(*) FROM conflicts").fetchone()
    return waiting, conflicts
