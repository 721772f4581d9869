"""The order of one subscription: which of the events that arrive come next, which are old, and
whether some are missing. A pure state machine; rules in `docs/protocol.md`."""

from __future__ import annotations

from collections import deque
from enum import Enum

from antiphon.agent_api.frames import UnknownEvent
from antiphon.agent_api.messages import (
    AnyEvent,
    Cursor,
    RunErrored,
    RunFinished,
    RunResumed,
    RunStarted,
    Snapshot,
)

PAST_RUNS = 64
"""Runs before the current one whose late frames are recognised by name (others by `seq`)."""


class Verdict(Enum):
    """What an event is to a subscription. Only `TAKE` moves its cursor."""

    TAKE = "take"
    """Comes next."""
    REPEAT = "repeat"
    """Was there before."""
    LATE = "late"
    """Belongs to an older attempt, or to a run that another followed."""
    EARLY = "early"
    """Does not join on, but the answer to an attach is still on its way."""
    OTHER = "other"
    """Of another run, before the one asked for began."""
    GAP = "gap"
    """Does not join on: something is missing, attach again with the cursor."""


class Track:
    """Follows a thread from a cursor, or (without one) from the start or a snapshot of `run_id`,
    or of whatever run comes first."""

    def __init__(self, run_id: str | None = None, cursor: Cursor | None = None):
        self.run_id = run_id
        self.cursor = cursor
        self._past: deque[str] = deque(maxlen=PAST_RUNS)
        self._asked = 0
        self._fresh = True

    def asked(self) -> None:
        """An attach (or a start) went out: until it is answered, what does not join on is early,
        and the next snapshot counts wherever it stands."""
        self._asked += 1
        self._fresh = True

    def answered(self) -> None:
        """One of those was answered."""
        self._asked = max(0, self._asked - 1)

    def disconnected(self) -> None:
        """The connection is gone, and with it what was on its way."""
        self._asked = 0

    def restart(self) -> None:
        """Forgets the cursor: the agent does not know it any more."""
        self.cursor = None

    def judge(self, event: AnyEvent | UnknownEvent) -> Verdict:
        """What `event` is; when it comes next, the cursor moves onto it."""
        verdict = self._snapshot(event) if isinstance(event, Snapshot) else self._event(event)
        if verdict is Verdict.GAP and self._asked:
            return Verdict.EARLY
        if verdict is Verdict.TAKE:
            if self.cursor is not None and self.cursor.run_id != event.run_id:
                self._past.append(self.cursor.run_id)
            self.cursor = Cursor(event.run_id, event.attempt, event.seq)
            self._fresh = False
        return verdict

    def _event(self, event: AnyEvent | UnknownEvent) -> Verdict:
        at = self.cursor
        if at is None:
            if self.run_id is not None and event.run_id != self.run_id:
                return Verdict.OTHER
            whole = isinstance(event, RunStarted | RunFinished | RunErrored)
            return Verdict.TAKE if whole else Verdict.GAP
        joins = event.seq <= at.seq + 1
        if event.run_id == at.run_id and event.attempt > at.attempt:
            # Deltas that were sent and not committed are gone: a higher attempt may count again
            # from where they began.
            begins = isinstance(event, RunResumed | RunFinished | RunErrored)
            return Verdict.TAKE if begins and joins else Verdict.GAP
        if event.run_id == at.run_id and event.attempt < at.attempt:
            return Verdict.LATE
        if event.run_id in self._past:
            return Verdict.LATE
        if event.seq <= at.seq:
            return Verdict.REPEAT
        return Verdict.TAKE if joins else Verdict.GAP

    def _snapshot(self, snapshot: Snapshot) -> Verdict:
        if self.run_id is not None and snapshot.run_id != self.run_id:
            return Verdict.OTHER
        at = self.cursor
        if at is None or self._fresh:
            return Verdict.TAKE
        if snapshot.run_id == at.run_id:
            here, there = (at.attempt, at.seq), (snapshot.attempt, snapshot.seq)
            if there == here:
                return Verdict.REPEAT
            return Verdict.TAKE if there > here else Verdict.LATE
        if snapshot.run_id in self._past or snapshot.seq <= at.seq:
            return Verdict.LATE
        return Verdict.TAKE
