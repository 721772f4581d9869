"""What must outlive the process: the question that is asked, the command that is carried out, the
lines that wait behind them, and what is owed to the agent. One small file, always whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from antiphon.core.ids import RunId, ThreadId, UserId
from antiphon.db import private_file
from antiphon.errors import StateError
from antiphon.sdk.interface import Run

FILE = "chat.json"


class OpenRun(msgspec.Struct, frozen=True):
    """A run whose answer was not shown to its end. `asked_ms`: when it was typed."""

    run: Run
    asked_ms: int


class OpenCommand(msgspec.Struct, frozen=True):
    """A command that was not carried out to its end; again under `request_id` it does no more."""

    request_id: str
    text: str


class Owed(msgspec.Struct, frozen=True):
    """What the agent must still be told. `run_id` of a cancel, `user_id` of erasing an author."""

    kind: Literal["cancel", "forget", "erase"]
    thread_id: ThreadId
    run_id: RunId | None = None
    user_id: UserId | None = None


class Kept(msgspec.Struct, frozen=True):
    """The file's content. At most one of `run` and `command` is open."""

    run: OpenRun | None = None
    command: OpenCommand | None = None
    waiting: tuple[str, ...] = ()
    owed: tuple[Owed, ...] = ()


class Journal:
    """The file in the terminal's state folder; one process at a time has it (its lock)."""

    def __init__(self, folder: Path):
        """Raises StateError where the file can't be read."""
        self._path = folder / FILE
        body = private_file.read(self._path)
        try:
            self._kept = Kept() if body is None else msgspec.json.decode(body, type=Kept)
        except msgspec.MsgspecError as error:
            raise StateError(
                f"Can't read {self._path}: {error}. Delete it to begin without what was open."
            ) from error

    @property
    def kept(self) -> Kept:
        """What is in the file."""
        return self._kept

    def change(self, **fields: object) -> None:
        """Replaces these fields of `Kept`; durable when it returns. Raises StateError."""
        kept = msgspec.structs.replace(self._kept, **fields)
        if kept == self._kept:
            return
        private_file.write(self._path, msgspec.json.encode(kept))
        self._kept = kept
