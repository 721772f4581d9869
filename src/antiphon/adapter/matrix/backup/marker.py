"""A restore under way, in `matrix-restore.json` beside the databases. While it replaces them no
adapter starts, and the next restore goes on with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from antiphon.core.ids import ThreadId
from antiphon.errors import StateError

FILE_NAME = "matrix-restore.json"


class Marker(msgspec.Struct, frozen=True):
    """What was decided. `importing`: memories go to the agent, and all here is as it was.
    `replacing`: the new databases lie ready and take the places of the old ones.

    `moved`: the new thread of each memory, old to new."""

    stage: Literal["importing", "replacing"]
    backup: str
    digest: str
    moved: dict[ThreadId, ThreadId]
    undo: str | None = None


def load(state: Path) -> Marker | None:
    """The restore under way, or None. Raises StateError for a file that can't be read."""
    path = state / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Marker)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"Can't read {path}: {error.strerror}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path} is damaged, so it can't be told how far a restore has come. Delete it, and "
            "restore the backup again before the adapter starts."
        ) from error


def save(state: Path, marker: Marker) -> None:
    """Keeps it: durable when this returns. Raises StateError."""
    path, new = state / FILE_NAME, state / f".{FILE_NAME}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(msgspec.json.encode(marker) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        new.replace(path)
        _sync(state)
    except OSError as error:
        raise StateError(f"Can't write {path}: {error.strerror}.") from error


def remove(state: Path) -> None:
    """The restore is finished: durable when this returns. Raises StateError."""
    path = state / FILE_NAME
    try:
        path.unlink(missing_ok=True)
        _sync(state)
    except OSError as error:
        raise StateError(f"Can't remove {path}: {error.strerror}.") from error


def refuse_unfinished(state: Path) -> None:
    """Raises StateError while a restore has replaced only a part of the state."""
    found = load(state)
    if found is not None and found.stage == "replacing":
        raise StateError(
            f"A restore was interrupted in {state}, and its state is of two moments. Run "
            f"`antiphon matrix restore {found.backup}` again: it goes on where it stopped.",
            code="restore_unfinished",
        )


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
