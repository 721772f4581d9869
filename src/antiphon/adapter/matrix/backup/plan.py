"""What a restore is going to do, and what came of it, for people and programs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from antiphon.adapter.matrix.backup.report import described
from antiphon.core.ids import ThreadId


class Fate(msgspec.Struct, frozen=True):
    """What becomes of the memories of the sessions that come back, by their threads.

    `kept`: the agent has the thread, and its record is the newer one. `moved`: the thread is gone
    at the agent or may not be used again, so that a new one gets the memory. `source` of those:
    `agent` (what it still has) or `backup`; in neither a session begins without memory."""

    kept: tuple[ThreadId, ...] = ()
    moved: tuple[ThreadId, ...] = ()
    source: dict[ThreadId, str] = {}


def decide(
    threads: Iterable[ThreadId],
    *,
    alive: Collection[ThreadId],
    saved: Collection[ThreadId],
    retired: Collection[ThreadId],
) -> Fate:
    """The fate of each of these `threads`: `alive` at the agent, `saved` in the backup, `retired`
    since (forgotten here, whether the agent has confirmed it or not).

    A retired id never comes back, so its memory moves; what the agent still has of it is newer than
    the backup."""
    kept: list[ThreadId] = []
    moved: list[ThreadId] = []
    source: dict[ThreadId, str] = {}
    for thread_id in threads:
        if thread_id in alive and thread_id not in retired:
            kept.append(thread_id)
            continue
        moved.append(thread_id)
        if thread_id in alive:
            source[thread_id] = "agent"
        elif thread_id in saved:
            source[thread_id] = "backup"
    return Fate(tuple(kept), tuple(moved), source)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore is going to do. `present`: counts of what is replaced, None where there is
    nothing (`present_problem` says why it can't be read); `fate` is None where the agent could not
    be asked (`agent_problem`). `goes_on`: this restore was begun before."""

    file: str
    account: str
    created: str
    program: str
    counts: dict[str, int]
    memory: bool
    present: dict[str, int] | None = None
    present_problem: str = ""
    fate: Fate | None = None
    agent_problem: str = ""
    goes_on: bool = False
    dry_run: bool = False

    def as_builtins(self) -> dict[str, Any]:
        """For JSON; thread ids are nobody's business."""
        fate = self.fate
        return {
            "file": self.file,
            "account": self.account,
            "created": self.created,
            "program": self.program,
            "backup": self.counts,
            "with_memory": self.memory,
            "replaces": self.present,
            "present_problem": self.present_problem or None,
            "memories": None if fate is None else memories(fate),
            "agent_problem": self.agent_problem or None,
            "goes_on": self.goes_on,
        }

    def lines(self) -> list[str]:
        """For people."""
        head = f"Backup of {self.account} of {self.created} (Antiphon {self.program})"
        lines = [f"{head}: {described(self.counts)}."]
        if self.goes_on:
            lines.append("This restore was begun before and is finished now.")
        if self.present_problem:
            lines.append(f"It replaces a state that can't be read: {self.present_problem}")
        elif self.present is None:
            lines.append("There is no state here yet.")
        else:
            present = {name: n for name, n in self.present.items() if name != "memories"}
            lines.append(f"It replaces what is here: {described(present)}.")
        if self.fate is not None:
            lines += _fates(self.fate)
        elif self.agent_problem:
            lines.append(f"What becomes of memories can't be told: {self.agent_problem}")
        lines.append(
            "The login and the keys here stay. The agent's other threads and the rooms are left "
            "as they are."
        )
        return lines


def memories(fate: Fate) -> Mapping[str, int]:
    """How many there are of each."""
    sources = list(fate.source.values())
    return {
        "kept": len(fate.kept),
        "from_backup": sources.count("backup"),
        "from_agent": sources.count("agent"),
        "empty": len(fate.moved) - len(sources),
    }


def _fates(fate: Fate) -> list[str]:
    words = {
        "kept": "the agent has the memory, which stays as it is now",
        "from_backup": "the memory is gone at the agent and comes from the backup",
        "from_agent": "forgotten here since, the memory comes back from the agent",
        "empty": "without memory, here or there: they begin anew",
    }
    counted = [(number, words[name]) for name, number in memories(fate).items() if number]
    return [f"  {text}: {described({'sessions': number})}" for number, text in counted]


class Result(msgspec.Struct, frozen=True):
    """A restore that is done. `undo`: the backup of what was here before; `goes_on` alone: nothing
    but the end of one that was interrupted."""

    plan: Plan | None
    file: str
    undo: str | None

    def as_json(self) -> bytes:
        """One JSON object; its keys are stable."""
        return as_json(self.plan, done=True, file=self.file, undo=self.undo)

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"Restored {self.file}. The next start looks into the rooms before it sends."]
        if self.undo is not None:
            lines.append(f"To undo it: antiphon matrix restore {self.undo}")
        return lines


def as_json(plan: Plan | None, *, done: bool, file: str, undo: str | None = None) -> bytes:
    """What `--json` prints."""
    value = {
        "done": done,
        "file": file,
        "undo": undo,
        "plan": plan.as_builtins() if plan is not None else None,
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
