"""`make bench`: Antiphon beside the floor, on one real Synapse, with one model server.

Both bots answer the same driver on the same homeserver in the same run, one after the other, so
that their ratio means something on a noisy machine. Writes bench/out/side_by_side.json and prints
a table. Exit code 1 when an answer is missing, came twice or carried another room's words.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret

HERE = Path(__file__).parent
BOTS = ("floor", "antiphon")


@contextlib.asynccontextmanager
async def process(
    *argv: str, env: dict[str, str] | None = None, log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process, its log in a file; ended with the block."""
    with log.open("ab") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable, *argv, stdout=asyncio.subprocess.PIPE, stderr=out, env=env
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def first_line(child: asyncio.subprocess.Process) -> str:
    """The first line that a child prints: it is ready then."""
    assert child.stdout is not None
    line = await asyncio.wait_for(child.stdout.readline(), 60)
    if not line:
        raise SystemExit("a process ended before it was ready; see the logs in bench/out")
    return line.decode().strip()


def memory_mb(pid: int | None) -> float:
    """Resident memory of a process and its children, MB (10^6 bytes)."""
    total, todo = 0, [pid]
    while todo:
        current = todo.pop()
        for line in Path(f"/proc/{current}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{current}/task").iterdir():
            todo.extend(int(child) for child in (task / "children").read_text().split())
    return round(total / 1e6, 1)


def cpu_s(pid: int | None) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def drive(hs: str, bot: str, users: int, rounds: int, log: Path) -> dict[str, Any]:
    """One run of the driver, in a process of its own."""
    argv = ("--hs", hs, "--bot", bot, "--users", str(users), "--rounds", str(rounds))
    async with process(str(HERE / "drive.py"), *argv, log=log) as child:
        assert child.stdout is not None
        result = dict(json.loads(await child.stdout.read()))
        await child.wait()
        return result


@contextlib.asynccontextmanager
async def antiphon(
    hs: str, bot: str, llm: str, state: Path, log: Path, ready: dict[str, float]
) -> AsyncIterator[dict[str, int | None]]:
    """Agent and adapter as processes of their own, as an operator runs them."""
    base = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    shared = {"ANTIPHON_STATE_DIR": str(state), "ANTIPHON_AGENT__TOKEN": "bench-token-0123456789"}
    started = time.monotonic()
    agent_env = (
        base
        | shared
        | {
            "ANTIPHON_AGENT__PORT": "0",
            "ANTIPHON_AGENT__MODEL": "openai:fake",
            "ANTIPHON_AGENT__BASE_URL": llm,
            "ANTIPHON_AGENT__API_KEY": "none",
        }
    )
    async with process("-m", "antiphon", "agent", "serve", env=agent_env, log=log) as agent:
        url = (await first_line(agent)).removeprefix("ready ")
        ready["agent_s"] = round(time.monotonic() - started, 2)
        started = time.monotonic()
        matrix_env = (
            base
            | shared
            | {
                "ANTIPHON_AGENT__URL": url,
                "ANTIPHON_MATRIX__HOMESERVER": hs,
                "ANTIPHON_MATRIX__USER": bot,
                "ANTIPHON_MATRIX__PASSWORD": "bot-antiphon",
                "ANTIPHON_MATRIX__ALLOW": "*",
                "ANTIPHON_MATRIX__BREAK_LOOPS": "false",
            }
        )
        async with process("-m", "antiphon", "matrix", "run", env=matrix_env, log=log) as adapter:
            await first_line(adapter)
            ready["adapter_s"] = round(time.monotonic() - started, 2)
            yield {"agent": agent.pid, "adapter": adapter.pid}


async def measure(args: argparse.Namespace, out: Path, folder: Path) -> dict[str, Any]:
    """Everything once; the result as it is written to the file."""
    log = out / "processes.log"
    log.unlink(missing_ok=True)
    runs: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    ready: dict[str, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        synapse = Synapse(folder / "synapse", rate_limits="lifted")
        say("starting Synapse")
        await stack.enter_async_context(synapse)
        names = [f"u{n}" for n in range(max(args.users))] + [f"bot-{bot}" for bot in BOTS]
        for name in names:
            await synapse.register_user(name, Secret(name))
        model = await stack.enter_async_context(
            process(
                *("-m", "antiphon.testing.model_server", "--words", str(args.words)),
                *("--gap", str(args.gap)),
                log=log,
            )
        )
        llm = await first_line(model)
        floor = await stack.enter_async_context(
            process(
                *(str(HERE / "floor.py"), "--hs", synapse.url, "--llm", llm),
                *("--user", "bot-floor"),
                log=log,
            )
        )
        await first_line(floor)
        bot = synapse.user_id("bot-antiphon")
        # The very first start also makes the databases; what follows is as after any restart.
        async with antiphon(synapse.url, bot, llm, folder / "state", log, first):
            pass
        pids = await stack.enter_async_context(
            antiphon(synapse.url, bot, llm, folder / "state", log, ready)
        )
        say(f"ready (seconds): the very first time {first}, then {ready}")
        for users in args.users:
            for repeat in range(args.repeat):
                for bot in BOTS if repeat % 2 == 0 else reversed(BOTS):
                    before = {name: cpu_s(pid) for name, pid in pids.items()}
                    run = await drive(
                        synapse.url, synapse.user_id(f"bot-{bot}"), users, args.rounds, log
                    )
                    if bot == "antiphon":
                        used = sum(cpu_s(pid) - before[name] for name, pid in pids.items())
                        run["cpu_ms_per_answer"] = round(1000 * used / max(1, run["turns"]))
                    runs.append({"bot": bot, **run})
                    say(row(runs[-1]))
        memory = {name: memory_mb(pid) for name, pid in pids.items()}
        memory["floor"] = memory_mb(floor.pid)
    return {
        "words": args.words,
        "gap_s": args.gap,
        "rounds": args.rounds,
        "runs": runs,
        "memory_mb": memory,
        "ready": ready,
        "first_ready": first,
        "ratios": [ratio(runs, users) for users in args.users],
    }


def ratio(runs: list[dict[str, Any]], users: int) -> dict[str, Any]:
    """Antiphon beside the floor at this number of users (medians of the repeats)."""

    def median(bot: str, key: str) -> float:
        values = [r[key] for r in runs if (r["bot"], r["users"]) == (bot, users)]
        return statistics.median(v if v is not None else float("inf") for v in values)

    first = median("antiphon", "first_p50") / median("floor", "first_p50")
    finished = median("antiphon", "end_p50") - median("floor", "end_p50")
    return {"users": users, "first_ratio": round(first, 2), "finished_minus_s": round(finished, 3)}


def problems(result: dict[str, Any]) -> list[str]:
    """What must never be, of Antiphon's runs."""
    found = []
    for run in result["runs"]:
        if run["bot"] != "antiphon":
            continue
        expected = run["users"] * result["rounds"]
        if run["answered"] != expected or run["errors"]:
            found.append(f"{run['users']} users: {run['answered']} of {expected} answered")
        if run["twice"] or run["bleed_rooms"]:
            found.append(f"{run['users']} users: {run['twice']} twice, {run['bleed_rooms']} bled")
    return found


def row(run: dict[str, Any]) -> str:
    """One run as a line of the table."""
    return (
        f"{run['bot']:>9} {run['users']:>3} users: {run['answered']:>3}/{run['turns']:<3} answered,"
        f" first {run['first_p50']} (p95 {run['first_p95']}) s, finished {run['end_p50']}"
        f" (p95 {run['end_p95']}) s, {run['events_p50']} events, twice {run['twice']},"
        f" bleed {run['bleed_rooms']}"
        + (f", cpu {run['cpu_ms_per_answer']} ms" if "cpu_ms_per_answer" in run else "")
    )


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Runs it; see the module's text for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--users", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each bot at each size")
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--gap", type=float, default=0.02, help="seconds between words")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    args = parser.parse_args()
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(args, out, Path(folder)))
    text = json.dumps(result, indent=2)
    (out / "side_by_side.json").write_text(text + "\n")
    if args.json:
        print(text)
    else:
        for line in result["ratios"]:
            print(
                f"{line['users']:>3} users: first text {line['first_ratio']} x the floor's,"
                f" finished {line['finished_minus_s']:+} s beside it"
            )
        print(f"memory MB: {result['memory_mb']}; ready: {result['ready']}")
    wrong = problems(result)
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
