"""`make bench ARGS=reset`: the plan and the doing of `antiphon matrix reset`, with many rooms on a
Synapse without limits and with some on one that has its defaults. Wall times of the whole command,
in seconds; the plan of the dry run must be what is then done, and no room may be left."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

from antiphon.demo.synapse import Synapse
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.processes import Pair

AT_ONCE = 8
WITHIN_S = 1_800.0


async def measure(rooms: int, limits: Literal["lifted", "default"]) -> dict[str, Any]:
    """A bot in `rooms` rooms whose state is reset with `server-leave-forget`."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        synapse = await stack.enter_async_context(Synapse(folder / "synapse", rate_limits=limits))
        bot = await stack.enter_async_context(live_user(synapse, "bot"))
        ada = await stack.enter_async_context(live_user(synapse, "ada", lift=True))
        pair = Pair(
            folder,
            homeserver=synapse.url,
            user=bot.user_id,
            password=bot.password.reveal(),
            agent={"MODEL": "offline"},
        )
        await pair.start()
        stack.push_async_callback(pair.stop)
        gate = asyncio.Semaphore(AT_ONCE)

        async def make(number: int) -> None:
            async with gate:
                await _entered(ada, await ada.room(name=f"Room {number}"), bot.user_id)

        await asyncio.gather(*(make(number) for number in range(rooms)))
        await pair.adapter.stop()
        times: dict[str, float] = {}

        async def reset(name: str, *flags: str) -> Any:
            began = time.monotonic()
            ended = await pair.adapter.once(
                *("matrix", "reset", "--mode", "server-leave-forget", "--json"),
                *flags,
                timeout_s=WITHIN_S,
            )
            times[name] = round(time.monotonic() - began, 2)
            if ended.code != 0:
                raise RuntimeError(ended.said)
            return json.loads(ended.out)

        planned = await reset("dry_run_s", "--dry-run")
        done = await reset("reset_s", "--yes")
        left = await bot.client.joined_rooms()
    return {
        "rooms": rooms,
        "limits": limits,
        **times,
        "planned": len(planned["plan"]["rooms"]),
        "left": done["result"]["left"],
        "as_planned": planned["plan"] == done["plan"],
        "still_joined": len(left),
    }


async def _entered(ada: LiveUser, room: str, bot: str) -> None:
    await ada.client.invite(room, bot)
    await ada.joined_by(room, bot, 600)


def main(argv: list[str]) -> int:
    """Prints a line for each case, or JSON."""
    parser = argparse.ArgumentParser(prog="bench reset", description=__doc__)
    parser.add_argument("--rooms", type=int, default=300, help="without limits")
    parser.add_argument("--limited", type=int, default=20, help="rooms with Synapse's defaults")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    results = []
    cases: list[tuple[int, Literal["lifted", "default"]]] = [
        (args.rooms, "lifted"),
        (args.limited, "default"),
    ]
    for rooms, limits in cases:
        if not rooms:
            continue
        print(f"{rooms} rooms, limits {limits} …", file=sys.stderr, flush=True)
        one = asyncio.run(measure(rooms, limits))
        results.append(one)
        if not args.json:
            print(
                f"{rooms:>4} rooms, limits {limits}: dry run {one['dry_run_s']} s, reset "
                f"{one['reset_s']} s; {one['left']} left, as planned: {one['as_planned']}, still "
                f"joined: {one['still_joined']}"
            )
    if args.json:
        print(json.dumps(results, indent=2))
    return int(any(one["still_joined"] or not one["as_planned"] for one in results))
