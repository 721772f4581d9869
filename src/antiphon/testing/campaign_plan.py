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
    "master_killed": "the control plane, and the adapter where changes wait for it, killed",
    "encrypted_kill": "as `kill`, in encrypted rooms: first at the points of the key store",
    "encrypted_faults": "as `lost_response`, in encrypted rooms, requests for keys included",
    "encrypted_mixed": "the other faults in encrypted rooms: "
    "`five_while_down`, `changed`, `zombie`, … in turn",
    "encrypted_device": "the user has a new device in mid-answer, which speaks and logs out again",
    "encrypted_members": "keys replaced by the room's settings and because a member left",
    "encrypted_on": "encryption switched on in mid-answer, perhaps with a kill",
    "encrypted_synapse": "Synapse, perhaps adapter and agent too, killed in an encrypted room",
}
MIXED = (
    *("five_while_down", "zombie", "changed", "backup_restored"),
    *("late_edit", "cursor_deleted", "freeze", "cut_agent"),
)
"""What the trials of `encrypted_mixed` play, in turn."""
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
    "encrypted_kill": 14,
    "encrypted_faults": 4,
    "encrypted_mixed": 6,
    "encrypted_device": 2,
    "encrypted_members": 3,
    "encrypted_on": 1,
}
"""How many of each 80 trials are of a kind; the last one is of one of these:"""
RARE = ("all_killed", "canaries_50", "synapse_killed", "encrypted_synapse", "master_killed")
EXCLUSIVE = frozenset({"all_killed", "synapse_killed", "encrypted_synapse"})
"""Kinds that take the homeserver away from everybody."""

CRITICAL = (
    *("sync.received", "turn.frozen", "delivery.sent", "journal.committed", "turn.started"),
    *("turn.before_delivered", "events.committed", "call.acted", "end.committed", "run.created"),
)
"""Points between a decision and its effect: these come first in every campaign."""

OFTEN = ("journal", "events", "sync", "delivery", "run.heard", "partial", "seal", "keys.received")
"""Points that one answer passes several times."""


class Order(msgspec.Struct, frozen=True):
    """Where a process is to die in one of its lives."""

    process: str
    text: str


class Plan(msgspec.Struct, frozen=True):
    """One trial. `play`: the scenario that is played; `first`: the order that it is about;
    `before`: orders of earlier lives, without which that point is not reached; `later`: orders of
    lives after it. `encrypted`: its rooms are, and change their keys after `rotation` messages
    (0: by default); `recovery`: the bot has a recovery key, and keeps a backup of keys."""

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
    play: str = ""
    encrypted: bool = False
    rotation: int = 0
    recovery: bool = False

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
    the critical ones first, so that as many of them as there are points visit each; so do those of
    `encrypted_kill`, with the points of encryption, which those of `kill` leave out, before all."""
    sequence = _kinds(seed, number, kinds)
    kind = sequence[number]
    turn = sequence[:number].count(kind)
    chance = random.Random(f"{seed}:{number}:plan")  # noqa: S311 - repeatable on purpose
    rooms = 50 if kind == "canaries_50" else chance.randint(1, 3)
    tools = chance.random() < 0.25
    made = Plan(seed, number, kind, rooms, tools=tools, play=_play(kind, seed + turn, chance))
    if kind.startswith("encrypted"):
        often = kind == "encrypted_members"
        made = msgspec.structs.replace(
            made,
            encrypted=True,
            rotation=chance.randint(2, 5) if often else chance.choice((0, 0, 2, 7)),
            recovery=chance.random() < 0.15,
        )
    targets = [
        Order(process, point.name)
        for point in points
        for process in point.processes
        if made.encrypted or not point.encrypted
    ]
    random.Random(f"{seed}:order").shuffle(targets)  # noqa: S311 - repeatable on purpose
    if made.play == "changed":
        orders = [chance.choice(targets) for _ in range(chance.randint(0, 2))]
        later = tuple(Order(o.process, f"{o.text}@{chance.randint(1, 4)}") for o in orders)
        return msgspec.structs.replace(made, later=later)
    if made.play != "kill":
        return made
    targets.sort(key=lambda target: target.text not in CRITICAL)
    if made.encrypted:
        crypto = {point.name for point in points if point.encrypted}
        targets.sort(key=lambda target: target.text not in crypto)
    return _kill(made, targets[turn % len(targets)], targets, chance)


def _play(kind: str, turn: int, chance: random.Random) -> str:
    """The scenario of a kind: encrypted ones play those of plain rooms, too."""
    match kind:
        case "encrypted_kill":
            return "kill"
        case "encrypted_faults":
            return "lost_response"
        case "encrypted_mixed":
            return MIXED[turn % len(MIXED)]
        case "encrypted_synapse":
            return chance.choice(("all_killed", "synapse_killed"))
    return kind


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


def _kill(made: Plan, target: Order, targets: Sequence[Order], chance: random.Random) -> Plan:
    name = target.text
    visit = chance.randint(1, 4) if name.startswith(OFTEN) else 1
    if name.startswith("sync"):
        visit += 2  # the first ones tell a new bot nothing
    if made.encrypted and name.startswith(("sync", "journal", "keys.received")):
        visit += chance.randint(0, 8)  # keys come with some of them alone, after the invites
    if name in ("keys.before_commit", "keys.committed"):
        visit = chance.randint(1, 25)  # a start alone comes by ten times
    before: tuple[Order, ...] = ()
    if name.startswith("resume"):
        before = (Order("agent", f"events.committed@{chance.randint(2, 4)}"),)
    again = chance.randint(1, 3) if chance.random() < 0.4 else 0
    others = [one for one in targets if not one.text.startswith(("schema", "login", "gap"))]
    later = tuple(
        Order(one.process, f"{one.text}@{chance.randint(1, 2)}")
        for one in (chance.choice(others) for _ in range(again))
    )
    return msgspec.structs.replace(
        made,
        first=Order(target.process, f"{name}@{visit}"),
        before=before,
        later=later,
        tools=made.tools or name.startswith(("step", "call")),
        stop=name.startswith(("stop", "debt", "cancel")) or chance.random() < 0.1,
        gap=name.startswith("gap"),
        fresh=name.startswith(("schema", "login")),
        recovery=made.recovery or name.startswith("identity.back"),
    )
