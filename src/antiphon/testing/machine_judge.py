"""What must be so when everything has come to rest, judged from the rooms, the agent's record and
what people said; the adapter's own journal is asked only for what it still owes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antiphon.adapter.matrix.marks import mark_of
from antiphon.core.ids import RunId, TurnId, run_id
from antiphon.core.render.answer import error_id, failed, finished, stopped
from antiphon.core.render.split import split
from antiphon.testing.machine import Machine
from antiphon.testing.machine_agent import Record
from antiphon.testing.machine_people import COMMANDS, Said

STOP_REPLIES = ("Stopped", "Nothing is running here.")
REFUSAL = "I may not talk with you"
FILE_REPLY = "I can't read files"


class Part:
    """One message of an answer as clients show it."""

    def __init__(self, root: dict[str, Any], position: int):
        self.event_id: str = root["event_id"]
        self.position = position
        self.versions = [root]

    @property
    def shown(self) -> dict[str, Any]:
        """The version that wins: the greatest (ts, event id) among the edits, else the root."""
        edits = self.versions[1:]
        if not edits:
            return self.versions[0]
        return max(edits, key=lambda e: (e["origin_server_ts"], e["event_id"]))

    @property
    def mark(self) -> dict[str, Any]:
        """What the shown version says of itself."""
        return mark_of(self.shown["content"]) or {}

    @property
    def text(self) -> str:
        """What people read."""
        content = self.shown["content"]
        return str(content.get("m.new_content", content).get("body", ""))


class Answer:
    """What stands in a room for one turn."""

    def __init__(self) -> None:
        self.parts: dict[int, list[Part]] = {}
        self.readable: list[str] = []

    @property
    def doubled(self) -> bool:
        """Whether a part was opened twice."""
        return any(len(parts) > 1 for parts in self.parts.values())

    @property
    def firsts(self) -> list[Part]:
        """The parts in order, each by its first root."""
        return [self.parts[number][0] for number in sorted(self.parts)]

    @property
    def finished(self) -> bool:
        """Whether it is whole: every part final, the last one marked so, none missing."""
        marks = [part.mark for part in self.firsts]
        return (
            bool(marks)
            and sorted(self.parts) == list(range(len(marks)))
            and all(mark.get("state") == "final" for mark in marks)
            and [mark.get("last") for mark in marks] == [False] * (len(marks) - 1) + [True]
            and len({mark.get("revision") for mark in marks}) == 1
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """What people read, part by part."""
        return tuple(part.text for part in self.firsts)


def answers(machine: Machine, room_id: str) -> dict[str, Answer]:
    """The answers in a room, by turn."""
    found: dict[str, Answer] = {}
    parts: dict[str, Part] = {}
    seen: set[str] = set()
    for event in machine.rooms.of_room(room_id):
        raw = event.raw
        if not isinstance(raw, dict) or raw.get("sender") != machine.me:
            continue
        mark = mark_of(raw["content"]) if raw.get("type") == "m.room.message" else None
        if mark is None or raw["event_id"] in seen:
            continue
        seen.add(raw["event_id"])
        answer = found.setdefault(mark["turn"], Answer())
        answer.readable.append(raw["event_id"])
        relation = raw["content"]["m.relates_to"]
        if relation.get("rel_type") == "m.replace":
            if relation["event_id"] in parts:
                parts[relation["event_id"]].versions.append(raw)
        else:
            part = parts[raw["event_id"]] = Part(raw, event.position)
            answer.parts.setdefault(mark["part"], []).append(part)
    return found


def finished_turns(machine: Machine, room_id: str) -> dict[TurnId, int]:
    """The turns whose answer is whole in the room, each with the revision that it answers."""
    found = answers(machine, room_id)
    return {
        TurnId(turn): answer.firsts[0].mark["revision"]
        for turn, answer in found.items()
        if answer.finished
    }


class Judge:
    """Gathers what is wrong."""

    def __init__(self, machine: Machine):
        self._machine = machine
        self.wrongs: list[str] = [*machine.wrongs, *machine.agent.wrongs]

    def judge(self) -> list[str]:
        """All that is wrong."""
        people = self._machine.people
        for room_id in people.room_ids:
            found = answers(self._machine, room_id)
            here = [said for said in people.said if said.room_id == room_id]
            for said in here:
                self._one(said, found.get(said.turn))
            self._unasked(room_id, found, {said.turn for said in here})
            self._order(room_id, found, here)
            self._canaries(room_id)
        self._threads()
        self._memberships()
        return self.wrongs

    def _wrong(self, said: Said, what: str, answer: Answer | None = None) -> None:
        shown = answer.texts if answer is not None else ()
        self.wrongs.append(f"{said.kind} {said.texts} in {said.room_id}: {what}; shown: {shown}")

    def _one(self, said: Said, answer: Answer | None) -> None:
        if said.gone or self._machine.people.membership(said.room_id) != "join":
            if answer is not None and answer.doubled:
                self._wrong(said, "a part of its answer was opened twice", answer)
            return
        if said.redacted or said.taken_down:
            if answer is not None and answer.readable:
                what = "redacted" if said.redacted else "taken down"
                self._wrong(said, f"{what}, and readable: {answer.readable}", answer)
            if said.redacted and said.sure:
                self._withdrawn(said)
            return
        if answer is None:
            if said.due:
                self._wrong(said, "no answer")
            return
        if answer.doubled:
            self._wrong(said, "a part of its answer was opened twice", answer)
        if not answer.finished:
            marks = [part.mark for part in answer.firsts]
            self._wrong(said, f"not finished: {marks}", answer)
        elif said.kind == "question":
            self._question(said, answer)
        elif not answer.texts[0].startswith(_replies(said)):
            self._wrong(said, "another reply", answer)

    def _question(self, said: Said, answer: Answer) -> None:
        """The answer is the agent's, to the newest text."""
        revision = answer.firsts[0].mark["revision"]
        record = self._machine.agent.records.get(run_id(said.turn, revision))
        if record is None or record.run is None:
            if not any("does not answer" in text for text in answer.texts):
                self._wrong(said, f"the agent never heard of revision {revision}", answer)
            return
        asked = record.run.question[0]
        if asked.author != said.sender:
            self._wrong(said, f"asked as {asked.author}", answer)
        if said.due and asked.text != said.texts[-1]:
            self._wrong(said, f"the answer is to {asked.text!r}", answer)
        if not record.abandoned and answer.texts != _expected(record):
            self._wrong(said, f"not what the agent said: {_expected(record)}", answer)

    def _withdrawn(self, said: Said) -> None:
        records = self._machine.agent.records
        for revision in range(1, 100):
            record = records.get(RunId(run_id(said.turn, revision)))
            if record is None:
                return
            if record.run is not None and record.run_id not in self._machine.agent.withdrawn:
                self._wrong(said, f"redacted, and {record.run_id} was not withdrawn")

    def _unasked(self, room_id: str, found: dict[str, Answer], known: set[TurnId]) -> None:
        """Nobody is told anything who did not ask; a stranger is told once that they may not."""
        unasked = {turn: answer for turn, answer in found.items() if turn not in known}
        refusals = [t for t, a in unasked.items() if a.texts and a.texts[0].startswith(REFUSAL)]
        for turn, answer in unasked.items():
            if turn not in refusals[:1] or answer.doubled:
                self.wrongs.append(f"unasked in {room_id}: {answer.texts} ({turn})")

    def _order(self, room_id: str, found: dict[str, Answer], here: Iterable[Said]) -> None:
        waiting = [s for s in here if s.kind != "stop" and not s.gone and s.turn in found]
        asked = [s for s in waiting if not s.again and found[s.turn].parts]
        apart = self._machine.isolation == "user"
        for chat in {s.sender for s in asked} if apart else {""}:
            places = [
                (found[s.turn].parts[0][0].position, s.texts)
                for s in asked
                if chat in ("", s.sender)
            ]
            if places != sorted(places, key=lambda place: place[0]):
                self.wrongs.append(f"out of order in {room_id}: {places}")

    def _canaries(self, room_id: str) -> None:
        people = self._machine.people
        others = [people.canary(other) for other in people.room_ids if other != room_id]
        for event in self._machine.rooms.of_room(room_id):
            if isinstance(event.raw, dict) and event.raw.get("sender") == people.me:
                text = str(event.raw.get("content"))
                self.wrongs.extend(f"{o} in {room_id}: {text}" for o in others if o in text)

    def _threads(self) -> None:
        """A memory belongs to one room, or to the rooms that replaced it, and where people are kept
        apart to one of them."""
        people = self._machine.people
        authors: dict[str, set[str]] = {}
        homes: dict[str, set[str]] = {}
        for record in self._machine.agent.records.values():
            if record.run is not None:
                text = record.run.question[0].text
                homes.setdefault(record.run.thread_id, set()).update(
                    people.chains[room] for room in people.room_ids if people.canary(room) in text
                )
                authors.setdefault(record.run.thread_id, set()).add(record.run.question[0].author)
        for thread, who in authors.items():
            if len(who) > 1 and self._machine.isolation == "user":
                self.wrongs.append(f"thread {thread} knows {who}")
        for thread, rooms in homes.items():
            if len(rooms) > 1:
                self.wrongs.append(f"thread {thread} knows of {rooms}")

    def _memberships(self) -> None:
        inside = set(self._machine.rooms.joined(self._machine.me))
        known = self._machine.joined_by_journal()
        if known - inside:
            self.wrongs.append(f"the journal takes us for members of {known - inside}")


def _replies(said: Said) -> tuple[str, ...]:
    """How a reply that needs no agent may begin."""
    if said.kind == "stop":
        return STOP_REPLIES
    return (FILE_REPLY,) if said.kind == "file" else COMMANDS[said.texts[0]]


def _expected(record: Record) -> tuple[str, ...]:
    parts = split(record.text)
    if record.outcome is None:
        return ()
    if record.outcome.kind == "error":
        short = error_id(record.run_id, record.outcome.code)
        return failed(parts, record.outcome.message, short)
    return stopped(parts) if record.outcome.kind == "cancelled" else finished(parts)
