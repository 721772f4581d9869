"""People for measurements, encrypting or not: the demo's own terminal user (its Matrix client and,
where it encrypts, the same vodozemac-based cipher as the adapter's), several in one process.

As a script it talks with a bot and prints what was measured, as JSON. The clock of a question
starts when the send is asked for, so sealing and opening on the person's side are in the times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.adapter.matrix.cipher import ENCRYPTED, Cipher, NoCipher, Sealed
from antiphon.adapter.matrix.ciphers import cipher_of
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId
from antiphon.demo.person import Person
from antiphon.settings import MatrixSettings, Secret
from antiphon.telemetry import configure

PATIENCE_S = 60.0
LINGER_S = 1.0


class Counting:
    """A cipher that counts what it was shown: `sealed` events of others that came encrypted,
    `unread` those of them that could not be read, and stay so."""

    def __init__(self, cipher: Cipher, me: str):
        self._cipher = cipher
        self._me = me
        self.enabled = cipher.enabled
        self.sealed = 0
        self.unread: dict[str, tuple[RoomId, Event]] = {}

    def on_keys(self, wake: Callable[[], None]) -> None:
        self._cipher.on_keys(wake)

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        self._cipher.on_standing(tell)

    def send_through(self, gate: SendGate) -> None:
        self._cipher.send_through(gate)

    async def run(self) -> None:
        await self._cipher.run()

    async def received(self, response: SyncResponse) -> None:
        await self._cipher.received(response)

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        shown = await self._cipher.readable(room_id, events)
        for before, after in zip(events, shown, strict=True):
            if before.type == ENCRYPTED and before.sender != self._me and before.content:
                self.sealed += 1
                if after.type != "m.room.message" and not after.sealed:
                    self.unread[before.event_id] = (room_id, before)
        return shown

    async def prepare(self, room_id: RoomId) -> None:
        await self._cipher.prepare(room_id)

    async def seal(
        self, room_id: RoomId, event_type: str, content: Mapping[str, Any]
    ) -> Sealed | None:
        return await self._cipher.seal(room_id, event_type, content)


@contextlib.asynccontextmanager
async def person(
    hs: str, name: str, bot: str, state: Path, opening: asyncio.Lock, *, encrypted: bool
) -> AsyncIterator[tuple[Person, Counting]]:
    """The user `name` (whose password is the name), listening; their rooms are encrypted or not.
    `opening` is held while a key store is made: alembic makes one at a time in a process."""
    clock = SystemClock()
    settings = MatrixSettings(keys_secret=Secret("a secret of the measurement, 32 characters"))
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(MatrixClient(hs))
        login = await client.login_password(name, Secret(name), device_id=None, device_name="Bench")
        me, device = login.user_id, login.device_id
        cipher: Cipher = NoCipher()
        if encrypted:
            state.mkdir(parents=True, exist_ok=True)
            async with opening:
                cipher = await stack.enter_async_context(
                    cipher_of(settings, state, client, me, device, clock)
                )
        counting = Counting(cipher, me)
        made = Person(client, me, bot, clock=clock, chance=SystemChance(), cipher=counting)
        await made.begin()
        listening = asyncio.create_task(made.listen())
        try:
            yield made, counting
        finally:
            listening.cancel()
            await asyncio.wait([listening])


async def ask(one: Person, room: str, text: str) -> dict[str, Any]:
    """Asks, and waits for the whole answer: seconds to its first text and to its end, and it."""
    began = time.monotonic()
    turn = await one.ask(room, text)
    first: float | None = None
    answer = ""
    async for seen in one.answer(turn, patience_s=PATIENCE_S):
        first = first if first is not None else time.monotonic() - began
        answer = seen.text
    return {"first": first, "end": time.monotonic() - began, "text": answer}


async def talk(
    hs: str,
    name: str,
    bot: str,
    folder: Path,
    opening: asyncio.Lock,
    rounds: int,
    *,
    encrypted: bool,
) -> dict[str, Any]:
    """One person's conversation in a new room; the first question, when keys are shared, apart."""
    async with person(hs, name, bot, folder / name, opening, encrypted=encrypted) as made:
        one, counting = made
        room = await one.open_room(f"Room of {name}")
        await asyncio.sleep(LINGER_S)
        start = await ask(one, room, f"Q-{name}x0 hello")
        turns = [await ask(one, room, f"Q-{name}x{n} hello") for n in range(1, rounds + 1)]
        await asyncio.sleep(LINGER_S)
        for room_id, event in list(counting.unread.values()):
            again = await counting.readable(room_id, [event])
            counting.sealed -= 1
            if again[0].type == "m.room.message":
                del counting.unread[event.event_id]
        wrong = [n for n, t in enumerate(turns, 1) if f"END:Q-{name}x{n}" not in t["text"]]
        return {
            "opening": start,
            "turns": turns,
            "wrong": len(wrong) + (f"END:Q-{name}x0" not in start["text"]),
            "sealed": counting.sealed,
            "unread": len(counting.unread),
        }


def quantile(values: Sequence[float], part: float) -> float:
    """Of sorted values; seconds with three digits."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3)


async def main(args: argparse.Namespace) -> None:
    """Everybody talks at once."""
    names, opening = args.names.split(","), asyncio.Lock()
    with tempfile.TemporaryDirectory() as folder:
        found = await asyncio.gather(
            *(
                talk(
                    *(args.hs, name, args.bot, Path(folder), opening, args.rounds),
                    encrypted=args.encrypted,
                )
                for name in names
            )
        )
    turns = [turn for one in found for turn in one["turns"]]
    firsts = [turn["first"] for turn in turns if turn["first"] is not None]
    ends = [turn["end"] for turn in turns]
    print(
        json.dumps(
            {
                "users": len(names),
                "questions": len(turns) + len(found),
                "wrong": sum(one["wrong"] for one in found),
                "opening_p50": round(
                    statistics.median(one["opening"]["first"] or PATIENCE_S for one in found), 3
                ),
                "first_p50": quantile(firsts, 0.5),
                "first_p95": quantile(firsts, 0.95),
                "end_p50": quantile(ends, 0.5),
                "end_p95": quantile(ends, 0.95),
                "sealed_events": sum(one["sealed"] for one in found),
                "undecryptable": sum(one["unread"] for one in found),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hs", required=True)
    parser.add_argument("--bot", required=True)
    parser.add_argument("--names", required=True, help="users, with commas between them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--encrypted", action="store_true")
    configure("warning", "json", process="bench")
    asyncio.run(main(parser.parse_args()))
