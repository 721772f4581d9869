"""The lock of a state folder: one process per name, and the lock dies with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from antiphon.errors import StateError, StateInUseError

PASSING = " passing"
"""After the pid in the file: the holder will soon be done."""


class StateLock:
    """Holds `NAME.lock` in a state folder by `flock`; made by `acquire`."""

    def __init__(self, fd: int, path: Path):
        self._fd: int | None = fd
        self.path = path

    @classmethod
    def acquire(cls, state: Path, name: str, *, what: str, passing: bool = False) -> StateLock:
        """Makes the folder (0700) where needed and takes the lock.

        `what` says in the error who holds it ("the Matrix adapter"). `passing`: we hold it for a
        short work only, and who is refused meanwhile is told so. Raises StateInUseError, with
        the holder's pid, when a living process has it, and StateError when the folder can't be
        written."""
        path = state / f"{name}.lock"
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"Can't write the state folder {state}: {error.strerror}. "
                "Make it writable or set ANTIPHON_STATE_DIR to another one."
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid, soon = _told(fd)
            os.close(fd)
            if soon:
                raise StateInUseError(
                    f"A command works on {state} (process {pid}) and keeps others out until it is "
                    "done. Wait for it.",
                    passing=True,
                ) from error
            raise StateInUseError(
                f"{what} already runs on {state} (process {pid}). Stop that one first, or give "
                "this one another ANTIPHON_STATE_DIR and another account."
            ) from error
        with suppress(OSError):  # a full disk: the lock holds all the same, without our number
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}{PASSING if passing else ''}\n".encode(), 0)
        return cls(fd, path)

    def release(self) -> None:
        """Gives the lock up; calling it again does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def holder(state: Path, name: str) -> int | None:
    """The process that holds `NAME.lock` in a state folder (0 where it did not say which); None
    where nobody does.

    It only looks: no file is made. For that it takes and gives back a shared lock, which a process
    that starts in the same instant would be refused for. Raises StateError where the file can't
    be opened."""
    path = state / f"{name}.lock"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"Can't read {path}: {error.strerror}.") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _ = _told(fd)
        return int(pid) if pid.isdigit() else 0
    finally:
        os.close(fd)
    return None


def _told(fd: int) -> tuple[str, bool]:
    """The holder's pid ("unknown" where it did not say), and whether it will soon be done."""
    text = os.pread(fd, 64, 0).decode(errors="replace").rstrip("\n")
    return text.removesuffix(PASSING).strip() or "unknown", text.endswith(PASSING)
