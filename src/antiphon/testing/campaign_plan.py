"""What a trial of a campaign will do, chosen by (seed, number) alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from antiphon.testing.crash_points import Point

KINDS: dict[str, str] = {
    "kill": "adapter or agent killed at a named point, then up to three times while recovering",
    "lost_response": "answers of the homeserver lost, late, cut off, replaced by errors",
    "changed": "the question edited or redacted while it waits or is answered, with kills",
    "late_edit": "sends that the adapter takes for lost land seconds later",
    "cut_agent": "the connection between adapter and agent cut and stalled",
    "freeze": "adapter or agent stopped (SIGSTOP) in mid-answer and woken",
    "zombie": "a stopped adapter wakes up after another one took over",
    "cursor_deleted": "the cursor deleted between two lives",
    "backup_restored": "the state folder of an earlier moment put back",
    "all_killed": "adapter, agent and Synapse killed at once in mid-answer",
    "synapse_killed": "Synapse killed in mid-answer",
    "five_while_down": "five messages while everything is down after kill -9",
    "canaries_50": "50 chats at once under faults",
}
WEIGHTS = {
    "kill": 60,
    "lost_response": 10,
    "late_edit": 4,
    "changed": 8,
    "cut_agent": 7,
    "freeze": 5,
    "zombie": 4,
    "cursor_deleted": 4,
    "backup_restored": 4,
    "five_while_down": 4,
    "all_killed": 1,
    "canaries_50": 1,
    "synapse_killed": 1,
}
EXCLUSIVE = frozenset({"all_killed", "synapse_killed"})
"""Kinds that take the homeserver away from everybody."""

OFTEN = ("journal", "events", "sync", "delivery", "run.heard", "partial")
"""Points that one answer passes several times."""


class Order(msgspec.Struct, frozen=True):
    """Where a process is to die in one of its lives."""

    process: str
    text: str


class Plan(msgspec.Struct, frozen=True):
    """One trial. `first`: the order that it is about; `before`: orders of earlier lives, without
    which that point is not reached; `later`: orders of lives after it."""

    seed: int
    number: int
    kind: str
    rooms: int
    first: Order | None = None
    before: tuple[Order, ...] = ()
    later: tuple[Order, ...] = ()
    tools: bool = False
    stop: bool = False
    gap: bool = False
    fresh: bool = False

    def chance(self) -> random.Random:
        """Randomness of this trial alone."""
        return random.Random(f"{self.seed}:{self.number}")  # noqa: S311 - repeatable on purpose

    def orders(self, process: str) -> tuple[str, ...]:
        """The crash orders of the lives of `process`, one each."""
        all_orders = (*self.before, *((self.first,) if self.first else ()), *self.later)
        return tuple(order.text for order in all_orders if order.process == process)


def plan(
    seed: int, number: int, points: Sequence[Point], kinds: Sequence[str] = tuple(WEIGHTS)
) -> Plan:
    """Trial `number` of the campaign `seed`. Points are taken in turn, so that as many trials of
    the kind `kill` as there are points visit each."""
    chance = random.Random(f"{seed}:{number}:plan")  # noqa: S311 - repeatable on purpose
    kind = chance.choices(list(kinds), [WEIGHTS.get(k, 1) for k in kinds])[0]
    rooms = chance.randint(1, 3)
    tools = chance.random() < 0.25
    if kind == "canaries_50":
        rooms = 50
    if kind not in ("kill", "changed"):
        return Plan(seed, number, kind, rooms, tools=tools)
    targets = [Order(process, point.name) for point in points for process in point.processes]
    random.Random(f"{seed}:order").shuffle(targets)  # noqa: S311 - repeatable on purpose
    if kind == "changed":
        orders = [chance.choice(targets) for _ in range(chance.randint(0, 2))]
        later = tuple(Order(o.process, f"{o.text}@{chance.randint(1, 4)}") for o in orders)
        return Plan(seed, number, kind, rooms, later=later)
    target = targets[number % len(targets)]
    return _kill(seed, number, target, targets, rooms, tools, chance)


def _kill(
    seed: int,
    number: int,
    target: Order,
    targets: Sequence[Order],
    rooms: int,
    tools: bool,
    chance: random.Random,
) -> Plan:
    name = target.text
    visit = chance.randint(1, 4) if name.startswith(OFTEN) else 1
    before: tuple[Order, ...] = ()
    if name.startswith("resume"):
        before = (Order("agent", f"events.committed@{chance.randint(2, 4)}"),)
    again = chance.randint(1, 3) if chance.random() < 0.4 else 0
    others = [one for one in targets if not one.text.startswith(("schema", "login", "gap"))]
    later = tuple(
        Order(one.process, f"{one.text}@{chance.randint(1, 2)}")
        for one in (chance.choice(others) for _ in range(again))
    )
    return Plan(
        seed,
        number,
        "kill",
        rooms,
        first=Order(target.process, f"{name}@{visit}"),
        before=before,
        later=later,
        tools=tools or name.startswith(("step", "call")),
        stop=name.startswith(("stop", "debt", "cancel")) or chance.random() < 0.1,
        gap=name.startswith("gap"),
        fresh=name.startswith(("schema", "login")),
    )
