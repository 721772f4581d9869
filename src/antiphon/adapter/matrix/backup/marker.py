"""A restore under way, in `matrix-restore.json` beside the databases. While it replaces them no
adapter starts, and the next restore goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from antiphon.core.ids import ThreadId
from antiphon.db import private_file
from antiphon.errors import StateError

FILE_NAME = "matrix-restore.json"


class Marker(msgspec.Struct, frozen=True):
    """What was decided. `importing`: memories go to the agent, and all here is as it was.
    `replacing`: the new databases lie ready and take the places of the old ones.

    `moved`: the new thread of each memory, old to new. `place`: which database the journal is in
    (a digest, for its address may hold a password)."""

    stage: Literal["importing", "replacing"]
    backup: str
    digest: str
    moved: dict[ThreadId, ThreadId]
    undo: str | None = None
    place: str = ""


def load(state: Path) -> Marker | None:
    """The restore under way, or None. Raises StateError for a file that can't be read."""
    path = state / FILE_NAME
    body = private_file.read(path)
    try:
        return None if body is None else msgspec.json.decode(body, type=Marker)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path} is damaged, so it can't be told how far a restore has come. Delete it, and "
            "restore the backup again before the adapter starts."
        ) from error


def save(state: Path, marker: Marker) -> None:
    """Keeps it: durable when this returns. Raises StateError."""
    private_file.write(state / FILE_NAME, msgspec.json.encode(marker) + b"\n")


def remove(state: Path) -> None:
    """The restore is finished: durable when this returns. Raises StateError."""
    private_file.remove(state / FILE_NAME)


def refuse_unfinished(state: Path) -> None:
    """Raises StateError while a restore has replaced only a part of the state."""
    found = load(state)
    if found is not None and found.stage == "replacing":
        raise StateError(
            f"A restore was interrupted in {state}, and its state is of two moments. Run "
            f"`antiphon matrix restore {found.backup}` again: it goes on where it stopped.",
            code="restore_unfinished",
        )
