"""What a trial of a campaign will do, chosen by (seed, number) alone. Pure."""

from __future__ import annotations

import itertools
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
BLOCK = {
    "kill": 25,
    "lost_response": 5,
    "changed": 4,
    "cut_agent": 3,
    "late_edit": 2,
    "freeze": 2,
    "zombie": 2,
    "cursor_deleted": 2,
    "backup_restored": 2,
    "five_while_down": 2,
}
"""How many of each 50 trials are of a kind; the last one is of one of these:"""
RARE = ("all_killed", "canaries_50", "synapse_killed")
EXCLUSIVE = frozenset({"all_killed", "synapse_killed"})
"""Kinds that take the homeserver away from everybody."""

CRITICAL = (
    *("sync.received", "turn.frozen", "delivery.sent", "journal.committed", "turn.started"),
    *("turn.before_delivered", "events.committed", "call.acted", "end.committed", "run.created"),
)
"""Points between a decision and its effect: these come first in every campaign."""

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
    seed: int, number: int, points: Sequence[Point], kinds: Sequence[str] = tuple(KINDS)
) -> Plan:
    """Trial `number` of the campaign `seed`. The trials of the kind `kill` take the points in turn,
    the critical ones first, so that as many of them as there are points visit each."""
    sequence = _kinds(seed, number, kinds)
    kind = sequence[number]
    chance = random.Random(f"{seed}:{number}:plan")  # noqa: S311 - repeatable on purpose
    rooms = 50 if kind == "canaries_50" else chance.randint(1, 3)
    tools = chance.random() < 0.25
    if kind not in ("kill", "changed"):
        return Plan(seed, number, kind, rooms, tools=tools)
    targets = [Order(process, point.name) for point in points for process in point.processes]
    random.Random(f"{seed}:order").shuffle(targets)  # noqa: S311 - repeatable on purpose
    if kind == "changed":
        orders = [chance.choice(targets) for _ in range(chance.randint(0, 2))]
        later = tuple(Order(o.process, f"{o.text}@{chance.randint(1, 4)}") for o in orders)
        return Plan(seed, number, kind, rooms, later=later)
    targets.sort(key=lambda target: target.text not in CRITICAL)
    turn = sequence[:number].count("kill")
    return _kill(seed, number, targets[turn % len(targets)], targets, rooms, tools, chance)


def _kinds(seed: int, number: int, kinds: Sequence[str]) -> list[str]:
    """The kinds of all trials up to `number`: in blocks, so that each has its share in each."""
    sequence: list[str] = []
    for block in itertools.count():
        rare = RARE[(seed + block) % len(RARE)]
        share = [kind for kind, count in BLOCK.items() for _ in range(count)] + [rare]
        chosen = [kind for kind in share if kind in kinds] or list(kinds)
        random.Random(f"{seed}:{block}:kinds").shuffle(chosen)  # noqa: S311 - repeatable
        sequence += chosen
        if len(sequence) > number:
            break
    return sequence


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
    if name.startswith("sync"):
        visit += 2  # the first ones tell a new bot nothing
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
