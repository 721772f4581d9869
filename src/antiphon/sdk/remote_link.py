"""Whether the control plane can be asked now, and since when it can't. Who finds it away says so
once; nobody then waits for it until it has been found again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from antiphon.errors import (
    AntiphonError,
    MasterRefusedError,
    MasterUnreachableError,
    PlatformError,
)
from antiphon.telemetry import logger

AWAY = (MasterUnreachableError, MasterRefusedError)
"""What it means that it is away: it can't be reached, or does not let us in."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds in seconds. `ask_s`: of one question; a slower control plane counts as away. `poll_s`:
    of a wait for other rules. `backoff_s` doubles up to `backoff_max_s` while it is away;
    `refused_s`: the wait where it refused our token. `known_s`: how long a chat or what a person
    set is taken as it was told, before it is asked for again."""

    ask_s: float = 3.0
    poll_s: float = 25.0
    backoff_s: float = 0.2
    backoff_max_s: float = 5.0
    refused_s: float = 30.0
    known_s: float = 5.0

    def pause(self, failures: int, jitter: float, reason: AntiphonError) -> float:
        """Seconds before the next attempt after `failures` in a row: doubling, half spread."""
        if isinstance(reason, MasterRefusedError):
            return self.refused_s * (0.5 + jitter / 2)
        longest: float = min(self.backoff_max_s, self.backoff_s * 2.0 ** min(failures - 1, 30))
        return longest * (0.5 + jitter / 2)


class Link:
    """Up or away. `waiting` is how many changes have not been told yet: while there are any, nobody
    but the one who tells them asks, for what is there is older than what is here."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._reason: PlatformError | None = MasterUnreachableError(
            f"The control plane at {url} was not asked yet."
        )
        self._asked = False
        self._changed = asyncio.Event()
        self._waiting = 0

    @property
    def reason(self) -> PlatformError | None:
        """Why it is away; None where it is not."""
        return self._reason

    def check(self) -> None:
        """Raises MasterUnreachableError or MasterRefusedError where it is away."""
        if isinstance(self._reason, MasterRefusedError):
            raise MasterRefusedError(self._reason.message)
        if self._reason is not None:
            raise MasterUnreachableError(self._reason.message)

    def is_away(self) -> bool:
        """Whether it can't be asked now."""
        return self._reason is not None

    @property
    def waiting(self) -> int:
        """How many changes wait to be told."""
        return self._waiting

    @waiting.setter
    def waiting(self, number: int) -> None:
        was, self._waiting = self._waiting, number
        if number > was:
            self._change()

    @property
    def usable(self) -> bool:
        """Whether to ask it at once."""
        return self._reason is None and self._waiting == 0

    @property
    def detail(self) -> str:
        """How it stands, as a sentence."""
        if self._reason is None:
            return f"The control plane at {self._url} answers."
        return self._reason.message

    def lost(self, reason: PlatformError) -> None:
        """It was asked, and is away."""
        was, self._reason = self._reason, reason
        if was is None or not self._asked or type(was) is not type(reason):
            logger("sdk.master").warning(
                "control_plane_lost", code=reason.code, why=reason.message, waiting=self._waiting
            )
        self._asked = True
        if was is None:
            self._change()

    def found(self) -> None:
        """It answered."""
        was, self._reason, self._asked = self._reason, None, True
        if was is not None:
            logger("sdk.master").info("control_plane_found", waiting=self._waiting)
            self._change()

    def change(self) -> asyncio.Event:
        """An event that is set when it is next lost or found, or something more waits."""
        return self._changed

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def first_of(event: asyncio.Event, other: Coroutine[Any, Any, Any]) -> None:
    """Returns when `event` is set or `other` has ended, which is cancelled otherwise; raises what
    it raises."""
    tasks = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    if not tasks[1].cancelled():
        tasks[1].result()
