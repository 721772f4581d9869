"""`make bench ARGS=master`: the control plane on one core: requests a second and their latency, by
several connections at once, on SQLite. Also how many requests one second of its CPU serves, which
does not depend on what else the machine does."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles
from typing import Any

import aiohttp

from antiphon.testing.master import Client
from antiphon.testing.processes import Process

TOKEN = "a-token-of-the-measurement-0123456789"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def measure(
    pid: int, ask: Callable[[int], Awaitable[Any]], *, connections: int, seconds: float
) -> dict[str, Any]:
    """Asks over and over, `connections` at once."""
    times: list[float] = []
    until = time.monotonic() + seconds
    cpu = cpu_seconds(pid)
    began = time.monotonic()

    async def one(number: int) -> None:
        count = number
        while time.monotonic() < until:
            at = time.monotonic()
            await ask(count)
            times.append(time.monotonic() - at)
            count += connections

    await asyncio.gather(*(one(number) for number in range(connections)))
    took, used = time.monotonic() - began, cpu_seconds(pid) - cpu
    cuts = quantiles(times, n=100)
    return {
        "requests_per_s": round(len(times) / took),
        "requests_per_cpu_s": round(len(times) / max(used, 0.01)),
        "median_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
    }


async def run(connections: int, seconds: float) -> dict[str, Any]:
    """All cases against one service, pinned to one core."""
    with tempfile.TemporaryDirectory() as folder:
        process = Process(
            "master",
            ("master", "serve"),
            {
                "ANTIPHON_STATE_DIR": f"{folder}/state",
                "ANTIPHON_MASTER__TOKEN": TOKEN,
                "ANTIPHON_MASTER__PORT": "0",
            },
            Path(folder),
        )
        url = await process.start()
        os.sched_setaffinity(process.pid, {0})
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector) as session:
            client = Client(session, url, TOKEN)
            by = {"value": "offline", "by": "@op:x"}
            await client("PUT", "/settings/surface/model", by)

            async def asked(
                method: str, path: str, body: Any = None, key: str | None = None
            ) -> None:
                got = await client(method, path, body, key=key)
                if got.status >= 400:
                    raise RuntimeError(f"{method} {path}: {got.status} {got.raw!r}")

            def usage(number: int, runs: int) -> dict[str, Any]:
                return {
                    "entries": [
                        {
                            "run_id": f"run-{number}-{run}-{runs}",
                            "user_id": f"@user{number % 100}:x",
                            "room": f"!room{number % 20}:x",
                            "at_ms": 1_800_000_000_000 + number,
                            "input_tokens": 500,
                            "output_tokens": 100,
                            "seconds": 1.5,
                        }
                        for run in range(runs)
                    ]
                }

            cases: dict[str, Callable[[int], Awaitable[Any]]] = {
                "GET /health": lambda n: asked("GET", "/health"),
                "GET /resolve": lambda n: asked(
                    "GET", f"/resolve?room=!room{n % 20}:x&user_id=@user{n % 100}:x"
                ),
                "POST /chats (known)": lambda n: asked(
                    "POST", "/chats", {"place": {"account": "@b:x", "room": f"!room{n % 20}:x"}}
                ),
                "POST /usage (1 run)": lambda n: asked("POST", "/usage", usage(n, 1)),
                "POST /usage (50 runs)": lambda n: asked("POST", "/usage", usage(n, 50)),
                "PUT /settings (key)": lambda n: asked(
                    "PUT",
                    f"/settings/user/language?subject=@user{n % 100}:x",
                    {"value": f"L{n}", "by": "@op:x"},
                    key=f"k{n}",
                ),
            }
            found = {}
            for name, ask in cases.items():
                found[name] = await measure(
                    process.pid, ask, connections=connections, seconds=seconds
                )
        await process.stop()
    return {"connections": connections, "seconds": seconds, "cases": found}


def main(argv: list[str]) -> int:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(prog="bench master", description=__doc__)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    result = asyncio.run(run(args.connections, args.seconds))
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{'':24} {'req/s':>7} {'req/CPU s':>10} {'median ms':>10} {'p99 ms':>8}")
    for name, one in result["cases"].items():
        print(
            f"{name:24} {one['requests_per_s']:>7} {one['requests_per_cpu_s']:>10} "
            f"{one['median_ms']:>10} {one['p99_ms']:>8}"
        )
    return 0
