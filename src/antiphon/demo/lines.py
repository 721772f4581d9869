"""Lines that a person types, read without a thread that could hold up the end of the process."""

from __future__ import annotations

import asyncio
import os


class Lines:
    """The lines of a file descriptor (standard input); use it as an async context manager."""

    def __init__(self, fd: int):
        self._fd = fd
        self._held = b""
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._watching = False

    async def __aenter__(self) -> Lines:
        try:
            asyncio.get_running_loop().add_reader(self._fd, self._read)
            self._watching = True
        except PermissionError:
            # A plain file or /dev/null can't be watched and never makes one wait.
            while self._read():
                pass
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unwatch()

    async def next(self) -> str | None:
        """The next line, without its end; None when there will be no more."""
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def _read(self) -> bool:
        try:
            chunk = os.read(self._fd, 4096)
        except OSError:
            # The terminal has gone.
            chunk = b""
        *whole, self._held = (self._held + chunk).split(b"\n")
        for line in whole:
            self._lines.put_nowait(line.decode(errors="replace"))
        if chunk:
            return True
        if self._held:
            self._lines.put_nowait(self._held.decode(errors="replace"))
            self._held = b""
        self._lines.put_nowait(None)
        self._unwatch()
        return False

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_reader(self._fd)
