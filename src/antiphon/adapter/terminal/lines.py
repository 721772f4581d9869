"""What a person types, read without a thread that could hold up the end of the process."""

from __future__ import annotations

import asyncio
import os

PASTE_S = 0.03
"""Lines that come so soon after each other were pasted: nobody types so fast."""


class Lines:
    """The lines of a file descriptor (standard input); use it as an async context manager.

    `gather`: lines that were pasted together are one, as on a terminal; elsewhere each is one."""

    def __init__(self, fd: int, *, gather: bool):
        self._fd = fd
        self._gather = gather
        self._held = b""
        self._pasted: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
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
        if self._timer is not None:
            self._timer.cancel()

    async def next(self) -> str | None:
        """The next line, without its end; None when there will be no more."""
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def _read(self) -> bool:
        try:
            chunk = os.read(self._fd, 65_536)
        except OSError:
            # The terminal has gone.
            chunk = b""
        *whole, self._held = (self._held + chunk).split(b"\n")
        for line in whole:
            self._take(line.decode(errors="replace").removesuffix("\r"))
        if chunk:
            return True
        if self._held:
            self._take(self._held.decode(errors="replace"))
            self._held = b""
        self._flush()
        self._lines.put_nowait(None)
        self._unwatch()
        return False

    def _take(self, line: str) -> None:
        if not self._gather:
            self._lines.put_nowait(line)
            return
        self._pasted.append(line)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(PASTE_S, self._flush)

    def _flush(self) -> None:
        if self._pasted:
            self._lines.put_nowait("\n".join(self._pasted))
            self._pasted = []

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            asyncio.get_running_loop().remove_reader(self._fd)
