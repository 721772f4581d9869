"""A subscription as its reader sees it: events in order, from a bounded buffer. The client fills
it; a slow reader costs itself a new attach, and nobody else anything."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType

import msgspec

from antiphon.agent_api.messages import AnyEvent, RunErrored, RunFinished, Snapshot
from antiphon.errors import AntiphonError


class Buffer(msgspec.Struct, frozen=True):
    """How much may wait for a slow reader before events are no longer taken for it."""

    events: int = 2_000
    size: int = 4 << 20


class Subscription:
    """Events of a thread, or of one of its runs. Made by `AgentClient.start` and `.attach`.

    Use it as `with client.attach(…) as events: async for event in events: …`; leaving ends the
    subscription and leaves the run alone. With a run given, the iteration ends after that run's
    end (`run.finished`, `run.error`, or a snapshot that says so). It goes on over cut connections
    for as long as the reader waits. Raises AgentProtocolError when the agent refuses it (`code`),
    and AgentRefusedError when it does not accept the token."""

    def __init__(
        self,
        run_id: str | None,
        buffer: Buffer,
        *,
        open_: Callable[[Subscription], None],
        resume: Callable[[Subscription], None],
        close: Callable[[Subscription], None],
    ):
        self.key = 0
        self.accepted = False
        """Whether the agent has said `ok` to the start or the attach."""
        self._run_id = run_id
        self._limit = buffer
        self._events: deque[tuple[AnyEvent, int]] = deque()
        self._size = 0
        self._full = False
        self._over = False
        self._error: AntiphonError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._open, self._resume, self._close = open_, resume, close

    def __enter__(self) -> Subscription:
        self._open(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(self)
        self._events.clear()

    async def __aiter__(self) -> AsyncIterator[AnyEvent]:
        while events := self.take(1) or await self._next():
            for event in events:
                yield event

    async def _next(self) -> list[AnyEvent]:
        while not (self._over or self._events or self._error):
            await self.news()
        return self.take(1)

    def take(self, most: int | None = None) -> list[AnyEvent]:
        """What has arrived and was not taken yet, without waiting. Raises as iterating does,
        after everything before the error was taken."""
        taken: list[AnyEvent] = []
        while self._events and (most is None or len(taken) < most):
            event, size = self._events.popleft()
            self._size -= size
            taken.append(event)
        if not taken and self._error is not None:
            raise self._error
        if self._full and not self._events and not self._over:
            self._full = False
            self._resume(self)
        return taken

    @property
    def over(self) -> bool:
        """Whether the run's end has arrived; what is buffered can still be taken."""
        return self._over

    def news(self) -> asyncio.Future[None]:
        """Done when `take` has something to give or to raise, or the run is over. One reader."""
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.get_running_loop().create_future()
        if self._events or self._error is not None or self._over:
            self._waiting.set_result(None)
        return self._waiting

    # --- for the client -------------------------------------------------------------------------

    def push(self, event: AnyEvent, size: int) -> bool:
        """Takes an event of `size` bytes; False when the buffer is now full."""
        self._events.append((event, size))
        self._size += size
        if self._run_id is not None and ends(event):
            self._over = True
        self._wake()
        if len(self._events) >= self._limit.events or self._size >= self._limit.size:
            self._full = True
        return not self._full

    def fail(self, error: AntiphonError) -> None:
        """Ends it with an error."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def ends(event: AnyEvent) -> bool:
    """Whether the run of `event` is over after it."""
    if isinstance(event, Snapshot):
        return event.status != "running"
    return isinstance(event, RunFinished | RunErrored)
