"""Usage and the log of changes as the HTTP API takes and gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.people import UsageEntry, UsageSum
from antiphon.master.calls import Asked
from antiphon.master.shapes.common import Count, Given, Id, Taken, integral
from antiphon.records.values import AuditRecord, UsageDay

LAST_MS = 253_402_300_799_999
"""The end of the year 9999."""
AtMs = Annotated[int, Field(ge=0, le=LAST_MS), BeforeValidator(integral)]
Tokens = Annotated[int, Field(ge=0, le=1_000_000_000_000), BeforeValidator(integral)]
MOST_ENTRIES = 500


class EntryTaken(Taken):
    """What one run used."""

    run_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")] = Field(
        examples=["t5bsqw3c7n2x.1"]
    )
    user_id: Id
    room: Id
    at_ms: AtMs
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    seconds: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] = 0.0

    def of(self) -> UsageEntry:
        """As the records take it."""
        return UsageEntry(
            run_id=RunId(self.run_id),
            user_id=UserId(self.user_id),
            room=RoomId(self.room),
            at_ms=self.at_ms,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            seconds=self.seconds,
        )


class AddUsage(Taken):
    """What runs used. Each is counted once, however often it is told."""

    entries: Annotated[list[EntryTaken], Field(max_length=MOST_ENTRIES)]


class UsageAsked(Asked):
    """Since when, by whom, where; `by=day`: day by day, too (UTC)."""

    since_ms: AtMs = 0
    user_id: Id | None = None
    room: Id | None = None
    by: Literal["day"] | None = None


class UsageTaken(Given):
    """How many entries were taken."""

    taken: int


class Used(Given):
    """What was used."""

    turns: int
    input_tokens: int
    output_tokens: int
    seconds: float


class UsedDay(Used):
    """What was used on a day (UTC)."""

    day: str = Field(examples=["2026-11-22"])


class UsageGiven(Used):
    """What was used, and (`by=day`) on which day."""

    days: list[UsedDay] | None


class AuditGiven(Given):
    """Who changed what, and when."""

    seq: Count
    at_ms: int
    surface: str
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


def used(total: UsageSum, days: tuple[UsageDay, ...] | None) -> UsageGiven:
    """A sum as it goes out."""
    shown = None if days is None else [UsedDay(day=one.day, **_sum(one.used)) for one in days]
    return UsageGiven(**_sum(total), days=shown)


def _sum(total: UsageSum) -> dict[str, Any]:
    return {name: getattr(total, name) for name in UsageSum.__struct_fields__}


def line(record: AuditRecord) -> AuditGiven:
    """A line of the log as it goes out."""
    return AuditGiven(**{name: getattr(record, name) for name in AuditRecord.__struct_fields__})
