"""Disks that fail, for tests: a small one that can be filled, one that takes no writes, and a limit
on a process's files that makes its writes fail. All of them can be lifted again."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NoMountError(Exception):
    """Disks can't be mounted here (it takes root); the message says why."""


class SmallDisk:
    """A tmpfs of a few megabytes at `path`. Made by `small_disk`."""

    def __init__(self, path: Path):
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Takes all the room that is left."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 16, 1 << 12, 1 << 8, 1):
                self._pour(filler.write, bytes(size))

    def _pour(self, write: object, block: bytes) -> None:
        assert callable(write)
        while True:
            try:
                if write(block) < len(block):
                    return
            except OSError:
                return

    def free(self) -> None:
        """Gives the room back."""
        self._filler.unlink(missing_ok=True)

    def read_only(self, on: bool) -> None:
        """Takes no more writes, or takes them again."""
        _mount("-o", "remount,ro" if on else "remount,rw", str(self.path))


@contextmanager
def small_disk(path: Path, megabytes: int = 8) -> Iterator[SmallDisk]:
    """Mounts one at `path`. Raises NoMountError where that is not permitted."""
    path.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "antiphon-test", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def limit_files(pid: int, largest: int | None) -> None:
    """From now on the process `pid` can't write beyond `largest` bytes into any file (its writes
    fail as those of a broken disk do); None lifts it."""
    limit = resource.RLIM_INFINITY if largest is None else largest
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def _mount(*arguments: str) -> None:
    _run("mount", *arguments)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            command, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise NoMountError(str(error)) from error
    if done.returncode != 0:
        raise NoMountError(done.stderr.strip())
