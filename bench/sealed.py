"""`make bench ARGS=sealed`: encrypted rooms beside plaintext ones, in one run on one real Synapse.

The same bot, the same people (`bench.people`: an encrypting client in Python), turn about: talking,
with a model server of a fixed pace; then starting, with many rooms of either kind, each of which
has had one answer, and a question that waits. Only the ratios mean something on a noisy machine.
Exit code 1 when an answer is wrong or missing, or anything could not be decrypted.
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

from bench.people import ask, person
from bench.side_by_side import antiphon, cpu_s, first_line, process, say

from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret
from antiphon.telemetry import configure
from antiphon.testing.processes import Pair

HERE = Path(__file__).parent
KINDS = ("plain", "encrypted")
AT_ONCE = 8


async def talking(
    args: argparse.Namespace, synapse: Synapse, folder: Path, log: Path
) -> list[dict[str, Any]]:
    """One adapter; new people each time, with plaintext and encrypted rooms in turn."""
    runs: list[dict[str, Any]] = []
    numbers = iter(range(1_000_000))
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(
            process(
                *("-m", "antiphon.testing.model_server", "--words", str(args.words)),
                *("--gap", str(args.gap)),
                log=log,
            )
        )
        llm = await first_line(model)
        await synapse.register_user("bot-antiphon", Secret("bot-antiphon"))
        bot = synapse.user_id("bot-antiphon")
        pids = await stack.enter_async_context(
            antiphon(synapse.url, bot, llm, folder / "talking", log, {})
        )
        for users in args.users:
            for repeat in range(args.repeat):
                for kind in KINDS if repeat % 2 == 0 else KINDS[::-1]:
                    names = [f"p{next(numbers)}" for _ in range(users)]
                    for name in names:
                        await synapse.register_user(name, Secret(name))
                    before = {name: cpu_s(pid) for name, pid in pids.items()}
                    argv = ["-m", "bench.people", "--hs", synapse.url, "--bot", bot]
                    argv += ["--names", ",".join(names), "--rounds", str(args.rounds)]
                    argv += ["--encrypted"] if kind == "encrypted" else []
                    async with process(*argv, log=log) as child:
                        assert child.stdout is not None
                        told = await child.stdout.read()
                        if await child.wait():
                            raise SystemExit(f"the people failed; see {log}")
                        run = dict(json.loads(told))
                    for name, pid in pids.items():
                        used = cpu_s(pid) - before[name]
                        run[f"{name}_cpu_ms"] = round(1000 * used / run["questions"], 1)
                    runs.append({"kind": kind, **run})
                    say(row(runs[-1]))
    return runs


def row(run: dict[str, Any]) -> str:
    """One run as a line."""
    return (
        f"{run['kind']:>9} {run['users']:>3} users: first {run['first_p50']} (p95"
        f" {run['first_p95']}) s, finished {run['end_p50']} (p95 {run['end_p95']}) s, first text"
        f" in a new room {run['opening_p50']} s; per answer: adapter {run['adapter_cpu_ms']} ms,"
        f" agent {run['agent_cpu_ms']} ms of CPU; {run['sealed_events']} sealed events,"
        f" {run['undecryptable']} undecryptable, {run['wrong']} wrong"
    )


async def starting(args: argparse.Namespace, synapse: Synapse, folder: Path) -> dict[str, Any]:
    """Two bots, one with plaintext rooms and one with encrypted ones, restarted in turn."""
    async with AsyncExitStack() as stack:
        pairs, rooms, people, unread = {}, {}, {}, {}
        for kind in KINDS:
            bot, name = f"starter-{kind}", f"asker-{kind}"
            for user in (bot, name):
                user_id = await synapse.register_user(user, Secret(user))
                await synapse.lift_rate_limit(user_id)  # of making rooms, too
            (folder / kind).mkdir()
            pairs[kind] = Pair(
                folder / kind,
                homeserver=synapse.url,
                user=synapse.user_id(bot),
                password=bot,
                agent={"MODEL": "offline"},
            )
            await pairs[kind].start()
            stack.push_async_callback(pairs[kind].stop)
            people[kind], unread[kind] = await stack.enter_async_context(
                person(
                    *(synapse.url, name, synapse.user_id(bot), folder / name, asyncio.Lock()),
                    encrypted=kind == "encrypted",
                )
            )
            gate = asyncio.Semaphore(AT_ONCE)

            async def make(number: int, kind: str = kind, gate: asyncio.Semaphore = gate) -> str:
                async with gate:
                    room = await people[kind].open_room(f"Room {number}")
                    await ask(people[kind], room, f"What is {number} plus 1?")
                    return room

            began = time.monotonic()
            rooms[kind] = await asyncio.gather(*(make(n) for n in range(args.rooms)))
            say(f"{args.rooms} {kind} rooms in {time.monotonic() - began:.0f} s")
            await pairs[kind].stop()
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for repeat in range(args.restarts):
            for kind in KINDS if repeat % 2 == 0 else KINDS[::-1]:
                pair, one = pairs[kind], people[kind]
                turn = await one.ask(rooms[kind][repeat % args.rooms], f"What is {repeat} plus 1?")
                began = time.monotonic()
                await pair.start_agent()
                await pair.adapter.start(120)
                ready = time.monotonic() - began
                used = cpu_s(pair.adapter.pid)
                text = ""
                async for seen in one.answer(turn, patience_s=120):
                    text = seen.text
                if str(repeat + 1) not in text:
                    raise SystemExit(f"a wrong answer after a start: {text!r}")
                answer = time.monotonic() - began
                await pair.stop()
                found[kind].append(
                    {
                        "ready_s": round(ready, 2),
                        "answer_s": round(answer, 2),
                        "adapter_cpu_s": round(used, 2),
                    }
                )
                say(f"{kind:>9}, {args.rooms} rooms: {found[kind][-1]}")
    return {
        "rooms": args.rooms,
        "starts": found,
        "undecryptable": sum(len(one.unread) for one in unread.values()),
    }


def median(rows: list[dict[str, Any]], key: str) -> float:
    """Of one figure over several runs."""
    return float(statistics.median(row[key] for row in rows))


def ratios(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Encrypted over plaintext, by medians of the repeats."""
    found: list[dict[str, Any]] = []
    for users in sorted({run["users"] for run in result["talking"]}):
        of = {
            kind: [r for r in result["talking"] if (r["kind"], r["users"]) == (kind, users)]
            for kind in KINDS
        }
        found.append(compared(f"{users} users", of, TALKING))
    if result["starting"]:
        rooms = result["starting"]["rooms"]
        found.append(compared(f"start, {rooms} rooms", result["starting"]["starts"], STARTING))
    return found


TALKING = ("opening_p50", "first_p50", "end_p50", "adapter_cpu_ms", "agent_cpu_ms")
STARTING = ("ready_s", "answer_s", "adapter_cpu_s")


def compared(
    what: str, of: dict[str, list[dict[str, Any]]], keys: tuple[str, ...]
) -> dict[str, Any]:
    """Plaintext, encrypted and their ratio for each figure."""
    line: dict[str, Any] = {"what": what}
    for key in keys:
        plain, encrypted = (median(of[kind], key) for kind in KINDS)
        line[key] = {
            "plain": round(plain, 3),
            "encrypted": round(encrypted, 3),
            "ratio": round(encrypted / plain, 2) if plain else None,
        }
    return line


async def measure(args: argparse.Namespace, out: Path, folder: Path) -> dict[str, Any]:
    """Everything once."""
    log = out / "sealed.log"
    log.unlink(missing_ok=True)
    async with Synapse(folder / "synapse", rate_limits="lifted") as synapse:
        runs = await talking(args, synapse, folder, log) if args.users else []
        starts = await starting(args, synapse, folder) if args.rooms else {}
    result = {
        "words": args.words,
        "gap_s": args.gap,
        "rounds": args.rounds,
        "talking": runs,
        "starting": starts,
    }
    return result | {"ratios": ratios(result)}


def main(argv: list[str]) -> int:
    """Runs it, writes bench/out/sealed.json and prints the ratios; see the module's text."""
    parser = argparse.ArgumentParser(prog="bench sealed", description=__doc__)
    parser.add_argument("--users", type=int, nargs="*", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=4, help="runs of each kind at each size")
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--gap", type=float, default=0.02, help="seconds between words")
    parser.add_argument("--rooms", type=int, default=300, help="for the starts; 0 for none")
    parser.add_argument("--restarts", type=int, default=5, help="of each kind")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args(argv)
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    configure("warning", "json", process="bench")
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(args, out, Path(folder)))
    text = json.dumps(result, indent=2)
    (out / "sealed.json").write_text(text + "\n")
    if args.json:
        print(text)
    else:
        for line in result["ratios"]:
            print(f"{line.pop('what')}, encrypted beside plaintext:")
            for key, values in line.items():
                print(
                    f"  {key:>15}: {values['encrypted']} beside {values['plain']}"
                    f" = {values['ratio']} x"
                )
    unread = sum(run["undecryptable"] for run in result["talking"])
    unread += result["starting"].get("undecryptable", 0)
    wrong = sum(run["wrong"] for run in result["talking"])
    if unread or wrong:
        print(f"WRONG: {unread} undecryptable events, {wrong} wrong answers", file=sys.stderr)
    return 1 if unread or wrong else 0
