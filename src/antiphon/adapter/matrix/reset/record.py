"""A reset under way, in `matrix-reset.json` beside the databases and outside of what it erases:
until it is finished no adapter starts, and the next run goes on with it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from antiphon.adapter.matrix.reset.plan import Mode, Options
from antiphon.core.ids import RoomId
from antiphon.db import private_file
from antiphon.errors import StateError

FILE_NAME = "matrix-reset.json"


class Record(msgspec.Struct, frozen=True):
    """What was decided. `rooms`: all that it concerns; `backup`: where the state of before is."""

    options: Options
    rooms: tuple[RoomId, ...]
    started_ms: int
    backup: str | None = None


def load(state: Path) -> Record | None:
    """The reset under way, or None. Raises StateError for a file that can't be read."""
    file = state / FILE_NAME
    body = private_file.read(file)
    try:
        return None if body is None else msgspec.json.decode(body, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"{file} is damaged, so it can't be told which reset was begun. Delete it and run the "
            "reset again."
        ) from error


def save(state: Path, record: Record) -> None:
    """Keeps the record: durable when this returns. Raises StateError."""
    body = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    private_file.write(state / FILE_NAME, body)


def remove(state: Path) -> None:
    """The reset is finished: durable when this returns. Raises StateError."""
    private_file.remove(state / FILE_NAME)


def command_of(options: Options) -> str:
    """What to type to go on with a reset."""
    words = ["antiphon matrix reset --mode", str(options.mode)]
    words += [f"--room '{room_id}'" for room_id in options.rooms]
    words += ["--keep-memory"] if options.keep_memory else []
    words += ["--include-device"] if options.include_device else []
    return " ".join(words)


def refuse_unfinished(state: Path) -> None:
    """Raises StateError where a reset is under way: half of what it was to forget may be there."""
    record = load(state)
    if record is not None:
        raise StateError(
            f"A reset ({Mode(record.options.mode)}) was begun and not finished. Finish it: "
            f"{command_of(record.options)}"
        )
