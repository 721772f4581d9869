"""What a reconciliation found, did and left: counts and rooms, for people, as JSON, in the log and
as metrics. `docs/operate.md` promises its JSON keys. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.owed import Owed
from antiphon.core.ids import RoomId

BY_SYNC_ALONE = (
    "questions that came meanwhile, edits and redactions of known ones",
    "missed messages, room upgrades and encryption that was switched on",
    "which unconfirmed sends stand in their rooms already",
)
"""What a dry run can't tell: only a /sync that acknowledges the last one would."""


class Invite(msgspec.Struct, frozen=True):
    """An invitation that waits for a decision. `allowed`: policy lets the inviter invite us."""

    room_id: RoomId
    inviter: str | None
    allowed: bool


class Report(msgspec.Struct, kw_only=True):
    """The result of a reconciliation, or with `dry_run` of looking what one would do.

    A second one right after it finds nothing (but for what agent and homeserver would not take).
    `owed` is what was open when the rooms were caught up, `left` what is open at the end, and
    `ended` how turns ended between (by end). `left` is None where nothing was worked off."""

    user_id: str
    device_id: str
    device_changed: bool = False
    cursor_lost: bool = False
    first_start: bool = False
    dry_run: bool = False
    adopted: list[RoomId] = msgspec.field(default_factory=list)
    closed: list[RoomId] = msgspec.field(default_factory=list)
    upgraded: list[RoomId] = msgspec.field(default_factory=list)
    poisoned: list[RoomId] = msgspec.field(default_factory=list)
    invites: list[Invite] = msgspec.field(default_factory=list)
    questions: int = 0
    answered_already: int = 0
    edited_or_redacted: int = 0
    owed: Owed = Owed()
    left: Owed | None = None
    ended: dict[str, int] = msgspec.field(default_factory=dict)
    waits: list[str] = msgspec.field(default_factory=list)

    def add(self, result: Committed) -> None:
        """Counts what a batch brought."""
        self.adopted.extend(result.adopted)
        self.closed.extend(result.closed)
        self.upgraded.extend(result.upgraded)
        self.poisoned.extend(room_id for room_id, _ in result.poisoned)
        self.questions += len(result.queued)
        self.answered_already += len(result.answered)
        self.edited_or_redacted += len(result.interrupted)

    def counts(self) -> dict[str, int]:
        """Everything that was found, as numbers: for the log and for metrics."""
        owed = self.owed
        return {
            "adopted": len(self.adopted),
            "closed": len(self.closed),
            "upgraded": len(self.upgraded),
            "poisoned": len(self.poisoned),
            "invites": len(self.invites),
            "gaps": len(owed.gaps),
            "questions": self.questions,
            "answered_already": self.answered_already,
            "edited_or_redacted": self.edited_or_redacted,
            "unfinished_turns": owed.turns,
            "unconfirmed_sends": owed.unconfirmed_sends,
            "redactions": owed.redactions,
            "debts": owed.debts,
            "device_changed": int(self.device_changed),
            "cursor_lost": int(self.cursor_lost),
        }

    @property
    def nothing(self) -> bool:
        """Whether there was nothing to do, and nothing is left."""
        done = self.left is None or self.left.nothing
        return done and self.owed.nothing and not any(self.counts().values())

    def as_json(self) -> bytes:
        """One JSON object; its keys are stable."""
        answer: dict[str, Any] = {
            "dry_run": self.dry_run,
            "user_id": self.user_id,
            "device_id": self.device_id,
            "device_changed": self.device_changed,
            "cursor_lost": self.cursor_lost,
            "first_start": self.first_start,
            "nothing_to_do": self.nothing,
            "rooms": {
                "adopted": self.adopted,
                "closed": self.closed,
                "upgraded": self.upgraded,
                "poisoned": self.poisoned,
            },
            "invites": self.invites,
            "news": {
                "questions": self.questions,
                "answered_already": self.answered_already,
                "edited_or_redacted": self.edited_or_redacted,
            },
            "owed": self.owed,
            "left": self.left,
            "ended": self.ended,
            "waits": self.waits,
            "unknown": BY_SYNC_ALONE if self.dry_run else (),
        }
        return msgspec.json.format(msgspec.json.encode(answer), indent=2)

    def lines(self) -> list[str]:
        """For people: a line for each thing that was found, done or left, with its rooms."""
        lines = [f"{self.user_id} on device {self.device_id}"]
        lines += self._warnings()
        if self.nothing:
            lines.append("Nothing to do: all is as it should be.")
        elif self.dry_run:
            lines += _indented("Nothing was changed. To do:", self._found())
        else:
            lines += _indented("Found:", self._found())
            lines += _indented("Done:", [f"turns {end}: {n}" for end, n in self.ended.items()])
            if self.left is not None:
                lines += _indented("Left:", [*self.left.lines(), *self.waits])
                lines += ["Nothing is left to do."] if self.left.nothing else []
        if self.dry_run:
            lines += _indented("Only a real run can tell:", BY_SYNC_ALONE)
        return lines

    def _warnings(self) -> list[str]:
        lines = []
        if self.device_changed:
            lines.append(
                "Warning: this is another device than last time. The homeserver knows none of the "
                "old one's transaction ids: what was sent is known from the rooms alone."
            )
        if self.cursor_lost:
            lines.append(
                "Warning: the place in /sync is lost. Each room goes on after the last event that "
                "is known of it."
            )
        if self.first_start:
            lines.append("There is no journal yet: this is a first start.")
        return lines

    def _found(self) -> list[str]:
        to_adopt, to_close = ("to adopt", "to close") if self.dry_run else ("adopted", "closed")
        rooms = {
            f"rooms {to_adopt}, without answering their history": self.adopted,
            f"rooms {to_close}, since we are no longer in them": self.closed,
            "rooms that were upgraded": self.upgraded,
            "rooms whose news could not be read": self.poisoned,
        }
        counts = {
            "questions that came meanwhile": self.questions,
            "turns whose answer their room has already": self.answered_already,
            "questions that were edited or redacted": self.edited_or_redacted,
        }
        lines = [f"{text} ({len(r)}): {', '.join(r)}" for text, r in rooms.items() if r]
        for invite in self.invites:
            verdict = (
                "to accept" if invite.allowed else "to decline ([matrix] allow, invite, rooms)"
            )
            by = f" by {invite.inviter}" if invite.inviter else ""
            lines.append(f"invite into {invite.room_id}{by}: {verdict}")
        lines += [f"{text}: {number}" for text, number in counts.items() if number]
        return lines + msgspec.structs.replace(self.owed, invites=()).lines()


def _indented(head: str, lines: Sequence[str]) -> list[str]:
    return [head, *(f"  {line}" for line in lines)] if lines else []
