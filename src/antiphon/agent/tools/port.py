"""What a tool is: a declaration and a function. The agent's ledger records each call before and
after it runs, and `repeatable` says what may be done when the record of the end is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from antiphon.agent.engines.port import ToolSpec


class Note(msgspec.Struct, frozen=True):
    """A note of a thread."""

    number: int
    text: str
    created_ms: int


class PastMessage(msgspec.Struct, frozen=True):
    """A message of this thread's history, for search. `role` is user or assistant."""

    role: str
    text: str
    at_ms: int


class ThreadAccess(Protocol):
    """All that a tool sees: the thread that it runs in, and no other."""

    async def add_note(self, text: str, call_id: str) -> Note:
        """Keeps a note; idempotent by `call_id`."""
        ...

    async def notes(self) -> tuple[Note, ...]:
        """All notes of this thread, oldest first."""
        ...

    async def search(self, words: str, limit: int) -> tuple[PastMessage, ...]:
        """Messages of earlier runs in this thread that contain all `words`, newest first."""
        ...

    def now_ms(self) -> int:
        """The wall clock."""
        ...


class ToolContext(msgspec.Struct, frozen=True):
    """One call: its id, and the thread it belongs to."""

    call_id: str
    thread: ThreadAccess


class ToolRefusedError(Exception):
    """The tool says no; the message goes to the model as the call's (error) result."""


ToolFunction = Callable[[dict[str, Any], ToolContext], Awaitable[str]]


class Tool(msgspec.Struct, frozen=True):
    """A declared tool. `repeatable`: running it twice does no more than once."""

    spec: ToolSpec
    run: ToolFunction
    repeatable: bool
