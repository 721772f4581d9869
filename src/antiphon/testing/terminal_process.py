"""`antiphon chat` as a real process: on a pseudo-terminal, as a person has it, or on pipes."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Ended(msgspec.Struct, frozen=True):
    """How a process on pipes ended."""

    code: int
    out: str
    err: str


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """An environment in which nothing of another Antiphon is known."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ANTIPHON_")}
    own = {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), "TERM": "dumb"}
    return {**clean, **own, "ANTIPHON_STATE_DIR": str(folder / "state"), **variables}


async def chat(folder: Path, *args: str, stdin: str = "", **variables: str) -> Ended:
    """Runs `antiphon chat` on pipes to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "antiphon", "chat", *args),
        cwd=folder,
        env=environment(folder, variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


class TerminalProcess:
    """`async with TerminalProcess(folder, …) as person`: a person at a terminal (a dumb one, so
    that nothing moves). `shown` is all that was ever written to it."""

    def __init__(self, folder: Path, *args: str, **variables: str):
        self._folder = folder
        self._args = args
        self._variables = variables
        self._master = -1
        self._news = asyncio.Event()
        self._seen = 0
        self.shown = ""

    async def __aenter__(self) -> TerminalProcess:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 100))
        try:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "antiphon", "chat", *self._args),
                cwd=self._folder,
                env=environment(self._folder, self._variables),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                preexec_fn=_own_terminal,
            )
        finally:
            os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def types(self, text: str) -> None:
        """Writes to the keyboard; a line ends in `\\n`."""
        os.write(self._master, text.encode())

    async def sees(self, text: str, within_s: float = 60) -> None:
        """Waits until `text` stands there, after what was waited for before."""
        try:
            async with asyncio.timeout(within_s):
                while (at := self.shown.find(text, self._seen)) < 0:
                    self._news.clear()
                    await self._news.wait()
            self._seen = at + len(text)
        except TimeoutError:
            raise AssertionError(f"{text!r} never came; there stands:\n{self.shown}") from None

    async def ends(self, within_s: float = 60) -> int:
        """Waits for the end; the exit code (negative: the signal)."""
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            data = b""  # nobody has the other end
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        self._news.set()


def _own_terminal() -> None:
    """In the child: a session of its own, whose terminal this is, so that Ctrl-C is a signal."""
    import fcntl

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
