"""Small files beside the databases that only their owner may read: written whole or not at all, and
durable when a call returns."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from antiphon.errors import StateError


def write(path: Path, body: bytes) -> None:
    """Writes a file of mode 0600 (its folder, of mode 0700, where there is none), in the place of
    one that is there. Raises StateError when that can't be done."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(body)
                out.flush()
                os.fsync(out.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"Can't write {path}: {error.strerror}.") from error


def read(path: Path) -> bytes | None:
    """What is in it; None where it is not there. Raises StateError where it can't be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"Can't read {path}: {error.strerror}.") from error


def remove(path: Path) -> None:
    """It is not there any more. Raises StateError when that can't be done."""
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"Can't remove {path}: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """The names in the folder are durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
