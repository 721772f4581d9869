"""The judge of crash campaigns: from what the homeserver's rooms show and what the agent recorded
to what was broken of the promises. Pure; it sees nothing of the adapter's own memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.ids import EventId, RoomId, RunId, UserId, turn_id
from antiphon.core.render.answer import error_id, error_sentence, finished, stopped
from antiphon.core.render.split import split
from antiphon.testing import checker_sealed
from antiphon.testing.checker_history import Message, messages, texts
from antiphon.testing.checker_record import TAG, RunRecord
from antiphon.testing.checker_sealed import Sealed

Expected = Literal["answer", "stoppable", "reply", "nothing", "withdrawn"]
"""What a message is owed: one answer; one answer or its end by `!stop`; one reply that no model
wrote; nothing at all (history from before the bot was invited); that nothing is left (redacted)."""


class Asked(msgspec.Struct, frozen=True):
    """A message that was sent to the bot; `tag` names it in the model's words.

    An edited one has its newest tag, those `older`, and the id of its last `edit`."""

    room_id: str
    event_id: str
    tag: str
    expected: Expected = "answer"
    older: tuple[str, ...] = ()
    edit: str = ""


class Facts(msgspec.Struct, frozen=True):
    """All that is known after a trial.

    `asked` is in the order of sending; `rooms` has each room's whole history, oldest first;
    `model_calls` how often the model was asked for each tag. `rewound`: the agent's record was
    put back in time, so that it can't know everything any more. `sealed` has the encrypted rooms
    once more: as they lie on the homeserver, beside what an independent client reads there."""

    bot: str
    asked: tuple[Asked, ...]
    rooms: Mapping[str, Sequence[Event]]
    runs: tuple[RunRecord, ...]
    model_calls: Mapping[str, int]
    rewound: bool = False
    sealed: Mapping[str, Sealed] = {}


class Violation(msgspec.Struct, frozen=True):
    """A broken promise. `kind` is one of `KINDS`."""

    kind: str
    room_id: str
    tag: str
    detail: str


KINDS: dict[str, str] = {
    "unanswered": "a question has no answer",
    "unfinished": "what is shown in the end is a partial text",
    "duplicate": "a part of an answer stands there twice",
    "missing_part": "the parts of an answer are not whole",
    "different": "the answer is not what the agent recorded",
    "order": "an answer begins before the one that it follows has ended",
    "foreign_words": "a word of another chat stands in the room",
    "kept": "words of a redacted exchange can still be read",
    "unasked": "the bot said something that nobody asked for",
    "asked_twice": "the agent was given one question as two runs",
    "model_again": "the model was called again for what was recorded",
    "no_record": "an answer that the agent knows nothing of",
    "memory": "the agent's memory of the chat is not the chat",
    "campaign": "the trial itself went wrong, and proves nothing",
    "zombie": "a process goes on after another one took over",
    "process": "a process ended by itself",
    "untold": "the control plane was not told of a change, or did not take it",
    **checker_sealed.KINDS,
}


def judge(facts: Facts) -> tuple[Violation, ...]:
    """Everything that is wrong, room by room; empty when all promises were kept."""
    found: list[Violation] = []
    for room_id, events in facts.rooms.items():
        asked = [one for one in facts.asked if one.room_id == room_id]
        found += _Room(facts, room_id, events, asked).violations()
    for room_id, sealed in facts.sealed.items():
        found += [
            Violation(fault.kind, room_id, "", fault.detail)
            for fault in checker_sealed.faults(facts.bot, sealed)
        ]
    found += _record(facts)
    return tuple(found)


class _Room:
    """One room's judgement."""

    def __init__(self, facts: Facts, room_id: str, events: Sequence[Event], asked: list[Asked]):
        self._facts = facts
        self._room_id = room_id
        self._events = events
        self._asked = asked
        self._shown = [m for m in messages(events) if m.sender == facts.bot]
        self._runs: dict[str, RunRecord] = {run.tag: run for run in facts.runs}
        self._found: list[Violation] = []

    def violations(self) -> list[Violation]:
        turns = {self._turn(one): one for one in self._asked if one.expected != "nothing"}
        answers: dict[str, list[Message]] = {turn: [] for turn in turns}
        for message in self._shown:
            turn = message.root_mark.turn if message.root_mark else None
            if message.redacted:
                continue
            if turn is None or turn not in turns:
                self._add("unasked", "", f"{message.event_id}: {message.body[:80]!r}")
            else:
                answers[turn].append(message)
        for turn, one in turns.items():
            self._one(one, answers[turn])
        self._order([(one, answers[t]) for t, one in turns.items() if one.expected != "reply"])
        self._foreign()
        return self._found

    def _one(self, one: Asked, parts: list[Message]) -> None:
        if one.expected == "withdrawn":
            self._withdrawn(one, parts)
            return
        run = self._runs.get(one.tag)
        if one.older and self._came_late(one, parts):
            # It was edited after it had been answered: the answer stays.
            run = next((self._runs[tag] for tag in one.older[::-1] if tag in self._runs), run)
        if not parts:
            silent = one.expected == "stoppable" and (
                run is None or (run.status == "cancelled" and not run.text)
            )
            if not silent:
                self._add("unanswered", one.tag, f"run: {run.status if run else None}")
            return
        numbers = [message.root_mark.part for message in parts if message.root_mark]
        if len(numbers) != len(set(numbers)):
            self._add("duplicate", one.tag, f"parts {numbers}: {[m.body[:40] for m in parts]}")
            return
        parts = [m for _, m in sorted(zip(numbers, parts, strict=True), key=lambda pair: pair[0])]
        for message in parts:
            if message.mark is None or not message.mark.final:
                self._add("unfinished", one.tag, f"{message.event_id}: {message.body[-80:]!r}")
                return
        lasts = [message.mark.last for message in parts if message.mark]
        if sorted(numbers) != list(range(len(parts))) or lasts != [False] * (len(parts) - 1) + [
            True
        ]:
            self._add("missing_part", one.tag, f"parts {numbers}, last {lasts}")
            return
        if one.expected != "reply":
            self._content(one, tuple(message.body for message in parts), run)

    def _withdrawn(self, one: Asked, parts: list[Message]) -> None:
        """A redacted question leaves nothing, neither in the room nor with the agent."""
        for message in parts:
            self._add("kept", one.tag, f"{message.event_id}: {message.body[:80]!r}")
        for tag in (one.tag, *one.older):
            if any(tag in TAG.findall(text)[:1] for text in texts(self._events, self._facts.bot)):
                self._add("kept", tag, "an edit of its answer is readable")
            run = self._runs.get(tag)
            if run is not None and not self._facts.rewound:
                self._add("kept", tag, f"the agent remembers it: {run.status}")

    def _came_late(self, one: Asked, parts: list[Message]) -> bool:
        """Whether its last edit stands in the history after the whole answer."""
        ids = [event.event_id for event in self._events]
        return (
            bool(parts)
            and one.edit in ids
            and ids.index(one.edit) > max(message.settled_at for message in parts)
        )

    def _content(self, one: Asked, bodies: tuple[str, ...], run: RunRecord | None) -> None:
        if run is None:
            if not self._facts.rewound:
                self._add("no_record", one.tag, repr(bodies[-1][-80:]))
            return
        if run.status == "error":
            sentence = error_sentence(
                run.error_message, error_id(RunId(run.run_id), run.error_code)
            )
            if not bodies[-1].endswith(sentence):
                self._add("different", one.tag, f"{bodies[-1][-120:]!r}, not {sentence!r}")
            return
        whole = split(run.text)
        wanted = finished(whole) if run.status == "success" else stopped(whole)
        if bodies != wanted and not (self._facts.rewound and _names(bodies, one.tag)):
            self._add(
                "different",
                one.tag,
                f"{run.status}: shown {bodies[-1][-80:]!r}, recorded {wanted[-1][-80:]!r}",
            )
        if run.status == "success" and run.tag == one.tag and not self._facts.rewound:
            self._memory(one, run)

    def _memory(self, one: Asked, run: RunRecord) -> None:
        """The model's words name every question that it was shown, in order."""
        said = next((w for w in run.text.split() if w.startswith("tags=")), None)
        if said is None:
            return
        gone = {tag for other in self._asked for tag in other.older}
        gone |= {other.tag for other in self._asked if other.expected == "withdrawn"}
        known = [tag for tag in said.removeprefix("tags=").split(",") if tag not in gone]
        before = [other for other in self._asked if other.expected in ("answer", "stoppable")]
        before = before[: before.index(one) + 1]
        names = [other.tag for other in before]
        must = [
            name
            for name in names
            if name == one.tag or (name in self._runs and self._runs[name].status == "success")
        ]
        if any(other.older for other in self._asked):
            # An edited question is answered when it is, so that only the end is certain.
            names, must = [*known[:-1], one.tag], [one.tag]
        in_order = [name for name in names if name in known]
        if known != in_order or any(name not in known for name in must):
            self._add("memory", one.tag, f"the model saw {known}, the chat was {names}")

    def _order(self, answers: list[tuple[Asked, list[Message]]]) -> None:
        """Answers come whole, one after the other, as their questions do. (One that was edited
        may be answered anew, in its old place, after later ones.)"""
        end = -1
        for one, parts in answers:
            if not parts:
                continue
            begin = min(message.at for message in parts)
            if begin <= end:
                self._add("order", one.tag, f"opened at {begin}, the one before ended at {end}")
            end = max(end, *(message.at if one.older else message.settled_at for message in parts))

    def _foreign(self) -> None:
        own = {tag for one in self._asked for tag in (one.tag, *one.older)}
        for text in texts(self._events, self._facts.bot):
            for tag in set(TAG.findall(text)) - own:
                self._add("foreign_words", tag, repr(text[:120]))

    def _turn(self, one: Asked) -> str:
        return turn_id(UserId(self._facts.bot), RoomId(one.room_id), EventId(one.event_id))

    def _add(self, kind: str, tag: str, detail: str) -> None:
        self._found.append(Violation(kind, self._room_id, tag, detail))


def _record(facts: Facts) -> list[Violation]:
    """What the agent's record says by itself."""
    found: list[Violation] = []
    seen: dict[str, RunRecord] = {}
    known = {tag: one for one in facts.asked for tag in (one.tag, *one.older)}
    for run in facts.runs:
        if run.status == "withdrawn":
            continue
        one = known.get(run.tag)
        if one is None or one.expected in ("reply", "nothing"):
            found.append(Violation("unasked", "", run.tag, f"the agent has run {run.run_id}"))
            continue
        if run.tag in seen:
            other = seen[run.tag].run_id
            found.append(
                Violation("asked_twice", one.room_id, run.tag, f"{run.run_id} beside {other}")
            )
        seen[run.tag] = run
        # Each attempt but the one that ended it may have been killed with a call under way; a
        # run that did not end well may have been in one that left no step.
        most = run.steps + run.attempts - (1 if run.status == "success" else 0)
        calls = facts.model_calls.get(run.tag, 0)
        if calls > most and not facts.rewound:
            found.append(
                Violation(
                    "model_again",
                    one.room_id,
                    run.tag,
                    f"{calls} calls for {run.steps} steps in {run.attempts} attempts",
                )
            )
    return found


def _names(bodies: tuple[str, ...], tag: str) -> bool:
    """Whether an answer is a whole answer to this question, whoever remembers it."""
    return f"A:{tag} " in bodies[0] and bodies[-1].rstrip().endswith(f"END:{tag}")
