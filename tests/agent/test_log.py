"""The live log: readers see each event once and in order, or are told that they are behind."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from antiphon.agent import log
from antiphon.agent.log import ThreadLog
from antiphon.agent.model import Frame


def event(seq: int, attempt: int = 1) -> Frame:
    return Frame(seq, "r", attempt, "text.delta", b"x" * 10)


class At:
    """A reader that only has a position."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def back_to(self, seq: int) -> None:
        self.position = min(self.position, seq)


class LogMachine(RuleBasedStateMachine):
    """Publishes, commits, rewinds and reads in any order, beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.log = ThreadLog()
        self.truth: list[Frame] = []
        self.committed = 0
        self.attempt = 1
        self.reader = At(0)
        self.log.watch(self.reader)

    @rule(committed=st.booleans())
    def publish(self, committed: bool) -> None:
        frame = event(len(self.truth) + 1, self.attempt)
        self.truth.append(frame)
        woken = self.reader.woken
        self.log.publish(frame, None, committed=committed)
        assert self.reader.woken == woken + 1
        if committed:
            self.committed = len(self.truth)

    @rule()
    def commit(self) -> None:
        self.committed = len(self.truth)
        self.log.committed(self.committed)

    @rule()
    def rewind(self) -> None:
        """A new attempt takes the numbers of what was never committed."""
        del self.truth[self.committed :]
        self.attempt += 1
        self.log.rewind(self.committed)

    @rule(limit=st.integers(1, 5))
    def read(self, limit: int) -> None:
        frames = self.log.after(self.reader.position, limit)
        if frames is None:
            self.reader.position = self.committed  # as a snapshot or the database would
        elif frames:
            assert frames == self.truth[self.reader.position :][:limit]
            self.reader.position = frames[-1].seq
        else:
            assert self.reader.position == len(self.truth)

    @rule()
    def rest(self) -> None:
        self.log.rest()

    @precondition(lambda self: self.truth)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        seq = data.draw(st.integers(1, len(self.truth)))
        assert self.log.at(seq) in (None, self.truth[seq - 1])

    @invariant()
    def what_is_not_committed_is_never_dropped(self) -> None:
        for frame in self.truth[self.committed :]:
            assert self.log.at(frame.seq) == frame


TestLog = LogMachine.TestCase


def test_only_committed_events_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first; who is behind them is told by None."""
    monkeypatch.setattr(log, "MAX_FRAMES", 3)
    one = ThreadLog()
    for seq in range(1, 11):
        one.publish(event(seq), None, committed=False)
    assert one.at(1) == event(1)
    one.committed(6)
    assert one.after(4, 10) is None
    assert [frame.seq for frame in one.after(5, 10) or []] == [6, 7, 8, 9, 10]


def test_an_idle_log_keeps_only_what_someone_has_not_read() -> None:
    """So that many quiet threads cost nothing."""
    one = ThreadLog()
    slow = At(2)
    one.watch(slow)
    for seq in range(1, 6):
        one.publish(event(seq), None, committed=True)
    one.rest()
    assert [frame.seq for frame in one.after(2, 10) or []] == [3, 4, 5]
    slow.position = 5
    one.rest()
    assert one.at(5) is None
    assert one.after(5, 10) == []
    one.publish(event(6), None, committed=True)
    assert [frame.seq for frame in one.after(5, 10) or []] == [6]
