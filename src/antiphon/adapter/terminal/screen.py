"""The terminal: lines, an answer that grows, and a sign that one waits. All text that goes through
here is made safe first. Answers go to standard output, the rest to standard error where standard
output is no terminal; only on a terminal is anything ever drawn over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

from antiphon.adapter.terminal.text import growth, safe

YOU = "you> "
BOT = "antiphon> "
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1
_LONG_S = 5
_CLEAR = "\r\x1b[2K"
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Screen:
    """Standard output and standard error. `plain`: no colour (`NO_COLOR`); `still`: nothing moves
    either (a dumb terminal)."""

    def __init__(self, out: TextIO, err: TextIO, *, plain: bool = False, still: bool = False):
        self._out = out
        self._err = err
        self.is_terminal = out.isatty()
        self._colour = self.is_terminal and not plain and not still
        self._moves = self.is_terminal and not still

    def prompt(self) -> None:
        """Asks for a line, on a terminal."""
        if self.is_terminal:
            self._put(self._out, self._styled(_BOLD, YOU))

    def answer(self, text: str) -> None:
        """A whole answer or reply."""
        self.label()
        self._put(self._out, safe(text).strip("\n") + "\n")

    def label(self) -> None:
        """Says whose words follow, on a terminal."""
        if self.is_terminal:
            self._put(self._out, self._styled(_BOLD, BOT))

    def remark(self, text: str) -> None:
        """A line about what goes on, which is no answer."""
        self._put(self._beside, self._styled(_DIM, safe(text)) + "\n")

    def said(self, text: str) -> None:
        """What the person said earlier, as it would stand had they typed it now."""
        self._put(self._beside, self._styled(_BOLD, YOU) + safe(text) + "\n")

    def heard(self, text: str) -> None:
        """What was answered earlier."""
        self._put(self._beside, self._styled(_BOLD, BOT) + safe(text).strip("\n") + "\n")

    def write(self, text: str) -> None:
        """A piece of an answer, which is safe already."""
        self._put(self._out, text)

    @property
    def _beside(self) -> TextIO:
        return self._out if self.is_terminal else self._err

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if self._colour else text

    @staticmethod
    def _put(stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Something that moves while one waits, on a terminal; nothing elsewhere."""
        if not self._moves:
            yield
            return
        spinning = asyncio.create_task(self._spin())
        try:
            yield
        finally:
            spinning.cancel()
            await asyncio.gather(spinning, return_exceptions=True)

    async def _spin(self) -> None:
        frame = 0
        try:
            while True:
                seconds = int(frame * _FRAME_S)
                said = f" {seconds} s" if seconds >= _LONG_S else ""
                self._put(self._out, f"\r{_FRAMES[frame % len(_FRAMES)]}{said}\x1b[K")
                frame += 1
                await asyncio.sleep(_FRAME_S)
        finally:
            self._put(self._out, _CLEAR)


class Growing:
    """One answer on its way to the screen."""

    def __init__(self, screen: Screen):
        self._screen = screen
        self._shown = ""

    @property
    def begun(self) -> bool:
        """Whether anything of it stands there."""
        return bool(self._shown)

    def show(self, text: str) -> None:
        """Brings the screen to `text`; trailing space waits until something follows it."""
        wanted = safe(text).rstrip()
        more = growth(self._shown, wanted)
        if more:
            if not self._shown:
                self._screen.label()
            self._screen.write(more)
            self._shown = wanted

    def settle(self, text: str) -> None:
        """The text is final: brings the screen to it, and ends the line."""
        self.show(text)
        wanted = safe(text).rstrip()
        if self._shown != wanted:
            self._screen.write("\n" + wanted)  # it became shorter than what stands there
        if self._shown or wanted:
            self._screen.write("\n")
