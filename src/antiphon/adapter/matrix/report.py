"""What a start found and settled: counts and rooms, for people, as JSON, in the log."""

from __future__ import annotations

import msgspec

from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.core.ids import RoomId


class Report(msgspec.Struct):
    """The result of a reconciliation. A second one right after it is all empty (but for debts
    that the agent or the homeserver would not take)."""

    user_id: str = ""
    device_id: str = ""
    device_changed: bool = False
    adopted: list[RoomId] = msgspec.field(default_factory=list)
    closed: list[RoomId] = msgspec.field(default_factory=list)
    invited: list[RoomId] = msgspec.field(default_factory=list)
    gaps: list[RoomId] = msgspec.field(default_factory=list)
    upgraded: list[RoomId] = msgspec.field(default_factory=list)
    poisoned: list[RoomId] = msgspec.field(default_factory=list)
    new_questions: int = 0
    answered_already: int = 0
    edited_or_redacted: int = 0
    unfinished_turns: int = 0
    unconfirmed_sends: int = 0
    owed_to_agent: int = 0

    def add(self, result: Committed) -> None:
        """Counts what a batch brought."""
        self.adopted.extend(result.adopted)
        self.closed.extend(result.closed)
        self.gaps.extend(gap.room_id for gap in result.gaps)
        self.upgraded.extend(result.upgraded)
        self.poisoned.extend(room_id for room_id, _ in result.poisoned)
        self.new_questions += len(result.queued)
        self.answered_already += len(result.answered)
        self.edited_or_redacted += len(result.interrupted)

    @property
    def empty(self) -> bool:
        """Whether there was nothing to settle."""
        fresh = Report(self.user_id, self.device_id)
        return self == fresh

    def lines(self) -> list[str]:
        """For people: a line for each thing that was found, with the rooms it was found in."""
        if self.empty:
            return [f"{self.user_id}: all is as the journal has it."]
        rooms = {
            "rooms adopted (their history is not answered)": self.adopted,
            "rooms that we are no longer in": self.closed,
            "invites to decide": self.invited,
            "rooms with missed messages to read back": self.gaps,
            "rooms that were upgraded": self.upgraded,
            "rooms whose news could not be read": self.poisoned,
        }
        counts = {
            "questions that came while it was down": self.new_questions,
            "turns whose answer the room has already": self.answered_already,
            "questions edited or redacted meanwhile": self.edited_or_redacted,
            "turns to be finished": self.unfinished_turns,
            "sends that were not confirmed": self.unconfirmed_sends,
            "debts to the agent": self.owed_to_agent,
        }
        lines = [f"{self.user_id} on device {self.device_id}"]
        if self.device_changed:
            lines.append("the device is another one than last time")
        lines += [f"{len(r)} {text}: {', '.join(r)}" for text, r in rooms.items() if r]
        lines += [f"{number} {text}" for text, number in counts.items() if number]
        return lines
