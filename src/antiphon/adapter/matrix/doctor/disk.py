"""Room on the disk, and who may read and write what lies there. Makes and changes nothing."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from antiphon.adapter.matrix.doctor.finding import Finding, failure, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.transport import login
from antiphon.errors import StateError

MIB = 1 << 20
WARN_BYTES = 1024 * MIB
FAIL_BYTES = 100 * MIB

PRIVATE_FILES = (login.FILE_NAME, "agent.token", "*.db", "*.db-wal")
"""What the state folder holds that is its owner's alone."""

ELSEWHERE = "set state_dir (ANTIPHON_STATE_DIR) to another folder"


def disk(patient: Patient) -> Finding:
    """The room on the disk of the state folder. Raises StateError where it can't be told."""
    folder = _standing(patient.state)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StateError(f"Can't look at the disk of {folder}: {error.strerror}.") from error
    return judged(free, patient.state)


def judged(free: int, state: Path) -> Finding:
    """What so many free bytes mean."""
    detail = f"{_size(free)} free where {state} lies"
    todo = f"Make room on that disk, or {ELSEWHERE}."
    if free < FAIL_BYTES:
        return failure("disk", f"only {detail}", todo)
    if free < WARN_BYTES:
        return warning("disk", f"only {detail}", todo)
    return ok("disk", detail)


def permissions(patient: Patient) -> Finding:
    """Whether we can write the state folder, and nobody else can read what is secret.

    Raises StateError where that can't be looked at."""
    state = patient.state
    try:
        if not state.exists():
            return _before_the_start(state, patient.settings_file)
        if not state.is_dir():
            return failure(
                "permissions",
                f"{state} is no folder",
                f"Move that file away, or {ELSEWHERE}.",
            )
        if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
            return failure(
                "permissions",
                f"this user can't write {state}",
                f"Run `antiphon` as the user who owns it, give it to this user (`chown -R`), or "
                f"{ELSEWHERE}.",
            )
        return _secrets(state, patient.settings_file)
    except OSError as error:
        raise StateError(f"Can't look at {error.filename or state}: {error.strerror}.") from error


def _secrets(state: Path, settings_file: Path | None) -> Finding:
    files = sorted({file for pattern in PRIVATE_FILES for file in state.glob(pattern)})
    if settings_file is not None:
        files.append(settings_file.absolute())
    locked = [file for file in files if not os.access(file, os.R_OK)]
    if locked:
        names = " ".join(map(str, locked))
        return failure(
            "permissions", f"this user can't read {names}", f"Run `sudo chown $USER {names}`."
        )
    return _open_to_others([state, *files]) or ok(
        "permissions", f"{state} and {len(files)} files with secrets are this user's alone"
    )


def _open_to_others(paths: list[Path]) -> Finding | None:
    found = [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if not found:
        return None
    commands = [f"chmod {'700' if path.is_dir() else '600'} {path}" for path in found]
    return warning(
        "permissions",
        f"others on this machine may get at {', '.join(map(str, found))}",
        f"Run `{' && '.join(commands)}`.",
    )


def _before_the_start(state: Path, settings_file: Path | None) -> Finding:
    seen = _open_to_others([settings_file.absolute()]) if settings_file is not None else None
    if seen is not None:
        return seen
    above = _standing(state)
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return ok("permissions", f"{state} is not there yet; the first start makes it")
    return failure(
        "permissions",
        f"{state} is not there, and this user can't make it: {above} can't be written",
        f"Make it as an administrator and give it to this user, or {ELSEWHERE}.",
    )


def _standing(path: Path) -> Path:
    """The path, or the nearest above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _size(number: int) -> str:
    return f"{number / (1024 * MIB):.1f} GiB" if number >= 1024 * MIB else f"{number // MIB} MiB"
