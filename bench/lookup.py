"""`make bench ARGS=lookup`: what looking up who and where adds to a turn: its chat, what applies to
it, and the rules, as a surface asks for them, with local state, with a control plane (a process of
its own, on this machine) that is asked each time, and with what was told a moment ago."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.sdk.prototype_state import LocalState
from antiphon.sdk.remote_link import Limits
from antiphon.sdk.state import State
from antiphon.testing.processes import Process
from antiphon.testing.remote_worlds import away, remote_state

TOKEN = "a-token-of-the-measurement-0123456789"
BOT = UserId("@bot:x")
AIMS = {"local": 1.0, "control plane": 5.0, "cached": 0.1}


async def lookup(state: State, number: int, rooms: int) -> None:
    """One turn's."""
    place = Place("matrix", BOT, RoomId(f"!room{number % rooms}:x"))
    await state.chat(place)
    await state.resolve(place, UserId(f"@user{number % 10}:x"))
    await state.rules()


async def measure(what: Callable[[int], Awaitable[None]], turns: int) -> dict[str, float]:
    """Milliseconds of each turn's lookup, one after the other."""
    times = []
    for number in range(turns):
        at = time.perf_counter()
        await what(number)
        times.append(time.perf_counter() - at)
    cuts = quantiles(times, n=100)
    return {
        "p5_ms": round(cuts[4] * 1000, 3),
        "median_ms": round(cuts[49] * 1000, 3),
        "p99_ms": round(cuts[98] * 1000, 3),
    }


async def of(state: State, turns: int, rooms: int) -> dict[str, float]:
    """After each place and person was seen once."""
    for number in range(max(10, rooms)):
        await lookup(state, number, rooms)
    return await measure(lambda number: lookup(state, number, rooms), turns)


async def run(turns: int, rooms: int) -> dict[str, Any]:
    """All of them."""
    found: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = await LocalState.open(
            f"sqlite:///{folder / 'state.db'}", clock=SystemClock(), chance=SystemChance()
        )
        stack.push_async_callback(local.close)
        scope = Scope("room", "matrix", RoomId("!room0:x"))
        await local.set_setting(scope, "language", "Deutsch", by=BOT, request_id="1")
        found["local"] = await of(local, turns, rooms)
        master = Process(
            "master",
            ("master", "serve"),
            {
                "ANTIPHON_STATE_DIR": str(folder / "master"),
                "ANTIPHON_MASTER__TOKEN": TOKEN,
                "ANTIPHON_MASTER__PORT": "0",
                "ANTIPHON_LOG_LEVEL": "warning",
            },
            folder,
        )
        url = await master.start()
        stack.push_async_callback(master.kill)
        for name, limits in (("control plane", Limits(known_s=0.0)), ("cached", Limits())):
            opened = remote_state(folder / name, url, TOKEN, limits=limits)
            state = await stack.enter_async_context(opened)
            if name == "cached":
                await master_set(state, scope)
            found[name] = await of(state, turns, rooms)
        await master.stop()
        await away(state)
        found["away"] = await of(state, turns, rooms)
    return found


async def master_set(state: State, scope: Scope) -> None:
    """The same setting as the local state has."""
    await state.set_setting(scope, "language", "Deutsch", by=BOT, request_id="1")


def main(arguments: list[str]) -> int:
    """Prints a table, or JSON. Exit code 1 where a median misses its aim."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=lookup", description=__doc__)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args(arguments)
    found = asyncio.run(run(wanted.turns, wanted.rooms))
    if wanted.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{'a lookup adds':16} {'5 %':>10} {'median':>10} {'99 %':>10} {'aim':>8}")
        for name, values in found.items():
            aim = f"{AIMS[name]:.1f} ms" if name in AIMS else ""
            cuts = " ".join(f"{values[cut]:7.3f} ms" for cut in ("p5_ms", "median_ms", "p99_ms"))
            print(f"{name:16} {cuts} {aim:>8}")
    return int(any(found[name]["median_ms"] > aim for name, aim in AIMS.items()))
