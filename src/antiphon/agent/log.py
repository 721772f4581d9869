"""The live log of a thread: its newest events in memory, shared by every reader.

A reader keeps its own position and pulls; a slow one falls off the log's end and gets a snapshot,
so that it costs neither memory nor anyone's time. No I/O here.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Protocol

from antiphon.agent.model import Frame
from antiphon.agent_api.answer import Answer
from antiphon.agent_api.messages import AnyEvent

MAX_FRAMES = 2_048
MAX_BYTES = 1 << 20
"""Committed events above these bounds leave memory, oldest first."""


class LogReader(Protocol):
    """Who reads a log. Nothing here may wait."""

    @property
    def position(self) -> int:
        """Seq of the last event that it has read."""
        ...

    def wake(self) -> None:
        """There is a new event, or the log was closed."""
        ...

    def back_to(self, seq: int) -> None:
        """Events after `seq` became void: a position above it goes back there."""
        ...


class ThreadLog:
    """The newest events of one thread, contiguous by seq, and the running run's state."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        """The state of the run that runs now, in this process."""
        self.last_seq = 0
        """Seq of the newest event that this log was given; 0: none yet."""
        self.closed = False
        """The thread was deleted: nothing follows."""
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._committed = 0
        self._readers: set[LogReader] = set()

    def publish(self, frame: Frame, event: AnyEvent | None, *, committed: bool) -> None:
        """Adds the next event and wakes the readers. `event` updates the live state."""
        if self._frames and frame.seq != self.last_seq + 1:
            self._frames.clear()
            self._bytes = 0
        self._frames.append(frame)
        self._bytes += len(frame.body)
        self.last_seq = frame.seq
        if event is not None and self.answer is not None:
            self.answer.apply(event)
        if committed:
            self.committed(frame.seq)
        self._wake()

    def committed(self, seq: int) -> None:
        """Events up to `seq` are durable and may leave memory."""
        self._committed = max(self._committed, seq)
        frames = self._frames
        while (len(frames) > MAX_FRAMES or self._bytes > MAX_BYTES) and (
            frames[0].seq < self._committed
        ):
            self._bytes -= len(frames.popleft().body)

    def rewind(self, seq: int) -> None:
        """Forgets events after `seq`: they were sent and never committed, and a new attempt will
        use their numbers again."""
        while self._frames and self._frames[-1].seq > seq:
            self._bytes -= len(self._frames.pop().body)
        if self.last_seq > seq:
            self.last_seq = seq
            for reader in self._readers:
                reader.back_to(seq)

    def forget(self) -> None:
        """Drops all events from memory (a run was erased); readers go on from the database."""
        self._frames.clear()
        self._bytes = 0

    def close(self) -> None:
        """Nothing follows any more; readers end once they have read what is here."""
        self.closed = True
        self._wake()

    def at(self, seq: int) -> Frame | None:
        """The event with this seq, if it is in memory."""
        if not self._frames or not self._frames[0].seq <= seq <= self._frames[-1].seq:
            return None
        return self._frames[seq - self._frames[0].seq]

    def after(self, seq: int, limit: int) -> list[Frame] | None:
        """Up to `limit` events after `seq`; None when those right after it have left memory."""
        if self.last_seq <= seq:
            return []
        if not self._frames or self._frames[0].seq > seq + 1:
            return None
        start = seq + 1 - self._frames[0].seq
        return list(islice(self._frames, start, start + limit))

    def rest(self) -> None:
        """Drops what every reader has read: nothing runs, and it is all in the database."""
        read = min((reader.position for reader in self._readers), default=self.last_seq)
        frames = self._frames
        while frames and frames[0].seq <= min(read, self._committed):
            self._bytes -= len(frames.popleft().body)

    def watch(self, reader: LogReader) -> None:
        """Tells `reader` of each new event from now on."""
        self._readers.add(reader)

    def unwatch(self, reader: LogReader) -> None:
        """Ends what `watch` began."""
        self._readers.discard(reader)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()
