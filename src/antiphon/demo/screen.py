"""What stands on the terminal: text that grows, lines of progress, and what to write next.

What an answer says is made safe first. Answers go to standard output, progress to standard error;
only on a terminal is anything ever drawn over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from antiphon.adapter.terminal.text import growth, safe

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1


class Growing:
    """One answer on its way to the screen."""

    def __init__(self, out: TextIO):
        self._out = out
        self._shown = ""

    def show(self, text: str) -> None:
        """Brings the screen to `text`; trailing space waits until something follows it."""
        wanted = safe(text).rstrip()
        more = growth(self._shown, wanted)
        if more:
            self._out.write(more)
            self._out.flush()
            self._shown = wanted

    def settle(self, text: str) -> None:
        """The text is final: brings the screen to it, and ends the line."""
        self.show(text)
        wanted = safe(text).rstrip()
        if self._shown != wanted:
            # It became shorter than what stands there.
            self._out.write("\n" + wanted)
        self._out.write("\n")
        self._out.flush()


class Screen:
    """Standard output and standard error of the demo."""

    def __init__(self, out: TextIO, err: TextIO):
        self.out = out
        self.err = err
        self.is_terminal = out.isatty() and err.isatty()

    def line(self, text: str = "") -> None:
        """A line for the person, on standard output."""
        self.out.write(text + "\n")
        self.out.flush()

    def progress(self, text: str) -> None:
        """A line on the way, on standard error."""
        self.err.write(text + "\n")
        self.err.flush()

    @asynccontextmanager
    async def step(self, what: str) -> AsyncIterator[None]:
        """Says that `what` is being done, and how long it took once it is."""
        began = time.monotonic()
        async with self.spinner(what):
            if not self.is_terminal:
                self.err.write(f"{what}… ")
                self.err.flush()
            try:
                yield
            except BaseException:
                if not self.is_terminal:
                    self.err.write("\n")
                raise
        took = f"{time.monotonic() - began:.1f} s"
        self.progress(f"{what}… {took}" if self.is_terminal else took)

    @asynccontextmanager
    async def spinner(self, what: str) -> AsyncIterator[None]:
        """Something that moves while one waits, on a terminal; nothing elsewhere."""
        if not self.is_terminal:
            yield
            return
        spinning = asyncio.create_task(self._spin(what))
        try:
            yield
        finally:
            spinning.cancel()
            await asyncio.gather(spinning, return_exceptions=True)

    async def _spin(self, what: str) -> None:
        began = time.monotonic()
        frame = 0
        try:
            while True:
                passed = time.monotonic() - began
                label = f" {what}… {passed:.1f} s" if what else ""
                self.err.write(f"\r\x1b[2K{_FRAMES[frame % len(_FRAMES)]}{label}")
                self.err.flush()
                frame += 1
                await asyncio.sleep(_FRAME_S)
        finally:
            self.err.write("\r\x1b[2K")
            self.err.flush()
