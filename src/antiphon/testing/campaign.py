"""`python -m antiphon.testing.campaign`: kills, cuts and freezes a real agent and adapter on a real
Synapse, again and again, and judges each trial by what the rooms show.

A trial is repeated alone by `--seed S --only N`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from antiphon.testing.campaign_docs import write_docs
from antiphon.testing.campaign_encrypted import prepare
from antiphon.testing.campaign_kinds import SCENARIOS
from antiphon.testing.campaign_plan import EXCLUSIVE, KINDS, Plan, plan
from antiphon.testing.campaign_result import Outcome, Result
from antiphon.testing.campaign_trial import Trial
from antiphon.testing.campaign_world import World, world
from antiphon.testing.checker import Violation
from antiphon.testing.crash_points import crash_points
from antiphon.testing.fault_proxy import FaultProxy
from antiphon.testing.fault_proxy_tcp import TcpProxy
from antiphon.testing.js_install import NoJsClientError, install
from antiphon.testing.mutants import MUTANTS
from antiphon.testing.ports import kept_port

MOST_SHOWN = 4
"""Violations of one trial that are printed; the results have all."""

TRIAL_S = 400.0
"""A trial that takes longer is broken off, which counts as a violation."""


async def trial(shared: World, chosen: Plan, mutant: str = "") -> Outcome:
    """Runs one trial and judges it."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"{chosen.number:04}-", dir=shared.folder))
    async with AsyncExitStack() as stack:
        made = await _made(stack, shared, chosen, folder, mutant)
        violations = await _played(made)
        await made.part()
    return Outcome(
        number=chosen.number,
        kind=chosen.kind,
        order=f"{chosen.first.process}:{chosen.first.text}" if chosen.first else "",
        violations=violations,
        died_at=tuple(f"{k.name}:{at}" for k in made.keepers for at in k.died_at),
        questions=len(made.asked),
        seconds=round(time.monotonic() - began, 2),
        faults=made.faults,
        notes=made.notes,
        sealed=made.sealed_events,
        undecryptable=made.undecryptable,
    )


async def _made(
    stack: AsyncExitStack, shared: World, chosen: Plan, folder: Path, mutant: str
) -> Trial:
    proxy = tcp = None
    if chosen.play in ("lost_response", "late_edit", "canaries_50", "cursor_deleted"):
        seed = f"{chosen.seed}:{chosen.number}"
        proxy = await stack.enter_async_context(FaultProxy(shared.synapse.url, seed=seed))
    if chosen.play == "cut_agent":
        tcp = await stack.enter_async_context(TcpProxy(kept_port()))
    bot = await shared.bot()
    made = Trial(shared, chosen, folder, bot, proxy=proxy, tcp=tcp, mutant=mutant)
    stack.push_async_callback(made.end)
    if chosen.fresh:
        made.state.mkdir(mode=0o700)
    else:
        await shared.state(made.state, bot, made.homeserver)
    return made


async def _played(made: Trial) -> tuple[Violation, ...]:
    limit = asyncio.timeout(TRIAL_S)
    try:
        async with limit:
            await prepare(made)
            await SCENARIOS[made.plan.play](made)
    except Exception:  # noqa: BLE001 - one trial's failure must not end the campaign unseen
        if limit.expired():
            made.problems.append(Violation("process", "", "", f"not over after {TRIAL_S:.0f} s"))
        else:
            trouble = traceback.format_exc(limit=-6)
            made.problems.append(Violation("campaign", "", "", trouble))
    return await made.verdict()


async def campaign(
    shared: World,
    seed: int,
    numbers: Sequence[int],
    *,
    kinds: Sequence[str] = tuple(KINDS),
    jobs: int = 1,
    mutant: str = "",
) -> list[Outcome]:
    """Runs the trials `numbers`, `jobs` at a time, those that stop the homeserver alone at the
    end. With a `mutant` it stops once that was caught."""
    points = crash_points()
    plans = [plan(seed, number, points, kinds) for number in numbers]
    outcomes: list[Outcome] = []
    caught = asyncio.Event()

    async def work(queue: list[Plan]) -> None:
        while queue and not caught.is_set():
            outcome = await trial(shared, queue.pop(0), mutant)
            outcomes.append(outcome)
            say(outcome, seed, mutant)
            if mutant and outcome.caught:
                caught.set()

    together = [one for one in plans if one.kind not in EXCLUSIVE]
    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work(together))
    await work([one for one in plans if one.kind in EXCLUSIVE])
    return sorted(outcomes, key=lambda outcome: outcome.number)


async def _run(options: argparse.Namespace, folder: Path) -> Result:
    kinds = kinds_of(options.kinds)
    if any(kind.startswith("encrypted") for kind in kinds):
        install(lambda text: print(text, file=sys.stderr))  # noqa: T201 - a program
    began = time.monotonic()
    caught: dict[str, int | None] = {}
    async with world(folder) as shared:
        if options.mutants or options.mutant:
            for name in [options.mutant] if options.mutant else MUTANTS:
                numbers = options.only or range(options.trials)
                found = await campaign(
                    shared, options.seed, numbers, kinds=kinds, jobs=options.jobs, mutant=name
                )
                caught[name] = len(found) if any(o.caught for o in found) else None
            return Result.of(options.seed, [], time.monotonic() - began, caught)
        outcomes = await campaign(
            shared,
            options.seed,
            options.only or range(options.trials),
            kinds=kinds,
            jobs=options.jobs,
        )
    return Result.of(options.seed, outcomes, time.monotonic() - began)


def kinds_of(text: str) -> list[str]:
    """The kinds that a comma-separated list names; `encrypted` are all those in encrypted rooms,
    `plain` are all others. Raises SystemExit."""
    found: list[str] = []
    for name in filter(None, text.split(",")):
        group = [kind for kind in KINDS if kind.startswith("encrypted") == (name == "encrypted")]
        found += group if name in ("encrypted", "plain") else [name]
    if unknown := set(found) - set(KINDS):
        raise SystemExit(f"there is no scenario {', '.join(sorted(unknown))}")
    return found or list(KINDS)


def say(outcome: Outcome, seed: int, mutant: str = "") -> None:
    """One line for a trial, and what to type to see a bad one again."""
    print(f"{mutant:13}" * bool(mutant) + outcome.line(), flush=True)  # noqa: T201 - a program
    for violation in outcome.violations[:MOST_SHOWN]:
        print(f"       {violation.kind}: {violation.tag} {violation.detail}", flush=True)  # noqa: T201
    if outcome.violations:
        more = f" MUTANT={mutant}" if mutant else ""
        print(f"       again: make crash SEED={seed} ONLY={outcome.number}{more}", flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Its exit code is 1 where a promise was broken or a mutant got through."""
    parser = argparse.ArgumentParser(description="Kill everything, lose nothing.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", type=int, action="append", help="the trial with this number")
    parser.add_argument("--kinds", default="", help=f"encrypted, plain, or of {', '.join(KINDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--folder", type=Path, help="keep everything in this folder")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="a fault in the code")
    parser.add_argument("--mutants", action="store_true", help="every mutant, until it is caught")
    parser.add_argument(
        "--write-docs", type=Path, nargs="*", metavar="JSON", help="only write these results down"
    )
    options = parser.parse_args(arguments)
    if options.write_docs is not None:
        write_docs(
            [msgspec.json.decode(file.read_bytes(), type=Result) for file in options.write_docs]
        )
        return 0
    with tempfile.TemporaryDirectory(prefix="antiphon-crash-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            result = asyncio.run(_run(options, folder))
        except NoJsClientError as error:
            raise SystemExit(f"{error} KINDS=plain needs no other client.") from error
    print(result.summary())  # noqa: T201
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
