"""`make bench ARGS=start`: from a start to the first new answer, with one room and with many.

A question is asked while everything is down; then agent and adapter are started at the same
moment, as after a power cut. Times are from that moment, in seconds, with the offline model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from antiphon.demo.synapse import Synapse
from antiphon.testing.live import LiveUser, live_user
from antiphon.testing.processes import Pair

AT_ONCE = 8


async def measure(rooms: int, repeat: int) -> dict[str, Any]:
    """A bot in `rooms` rooms, restarted `repeat` times with a question waiting each time."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        synapse = await stack.enter_async_context(Synapse(folder / "synapse", rate_limits="lifted"))
        bot = await stack.enter_async_context(live_user(synapse, "bot", lift=True))
        ada = await stack.enter_async_context(live_user(synapse, "ada", lift=True))
        pair = Pair(
            folder,
            homeserver=synapse.url,
            user=bot.user_id,
            password=bot.password.reveal(),
            agent={"MODEL": "offline"},
        )
        await pair.start()
        gate = asyncio.Semaphore(AT_ONCE)

        async def make(number: int) -> str:
            async with gate:
                room = await ada.room(bot.user_id, name=f"Room {number}")
                await ada.joined_by(room, bot.user_id, 120)
                return room

        made = await asyncio.gather(*(make(number) for number in range(rooms)))
        firsts, readies = [], []
        for number in range(repeat):
            await pair.stop()
            await ada.say(made[0], f"What is {number} plus 1?")
            began = time.monotonic()
            await pair.start_agent()
            await pair.adapter.start()
            readies.append(time.monotonic() - began)
            await answered(ada, made[0], f"{number + 1}")
            firsts.append(time.monotonic() - began)
        await pair.stop()
    return {
        "rooms": rooms,
        "ready_s": round(statistics.median(readies), 2),
        "answer_s": round(statistics.median(firsts), 2),
        "answers_s": [round(first, 2) for first in firsts],
    }


async def answered(ada: LiveUser, room: str, word: str) -> None:
    """Waits until the newest message in the room is an answer with this word."""
    await ada.until(
        room, lambda shown: shown[-1].sender != ada.user_id and word in shown[-1].body, 120
    )


def main(argv: list[str]) -> int:
    """Prints a line for each number of rooms, or JSON."""
    parser = argparse.ArgumentParser(prog="bench start", description=__doc__)
    parser.add_argument("--rooms", type=int, nargs="+", default=[1, 300])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    results = []
    for rooms in args.rooms:
        print(f"{rooms} rooms …", file=sys.stderr, flush=True)
        results.append(asyncio.run(measure(rooms, args.repeat)))
        if not args.json:
            one = results[-1]
            print(
                f"{rooms:>4} rooms: ready after {one['ready_s']} s, the waiting question answered "
                f"after {one['answer_s']} s {one['answers_s']}"
            )
    if args.json:
        print(json.dumps(results, indent=2))
    return 0
