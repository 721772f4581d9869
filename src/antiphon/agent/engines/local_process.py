"""The handle of the local model's child process: start, ask, read, end. One reader at a time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import antiphon
from antiphon.agent.engines import local_pipe as pipe

CHILD = "antiphon.agent.engines.local_child"
END_S = 2.0
LINE_LIMIT = 1 << 20


class ChildEndedError(Exception):
    """The child process has ended, or said something that is no report."""


class Child:
    """A running child process; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process):
        self._process = process
        self.ready = False

    @classmethod
    async def start(cls, model: Path, context: int, log: Path) -> Child:
        """Starts the process and returns at once: loading goes on there. What the library prints
        goes to `log`, which begins anew. Raises OSError."""
        root = str(Path(antiphon.__file__).parents[1])
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD, str(model), str(context), str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=environment(os.environ, root),
                limit=LINE_LIMIT,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def send(self, order: pipe.Order) -> None:
        """Gives an order. Raises ChildEndedError."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(pipe.line(order))
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ChildEndedError from error

    def cancel(self, number: int) -> None:
        """Says that nobody waits for the answer `number`; does not wait, never raises."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(pipe.line(pipe.Cancel(number)))

    async def read(self) -> pipe.Report:
        """The next report. Raises ChildEndedError."""
        assert self._process.stdout is not None
        try:
            line = await self._process.stdout.readline()
            return pipe.report(line)
        except (msgspec.DecodeError, ValueError, ConnectionError) as error:
            raise ChildEndedError from error

    async def kill(self) -> None:
        """Ends the process at once, and waits until it is gone (milliseconds)."""
        if self.alive:
            self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Lets the process end by itself, kills it when it does not, and waits until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


def environment(variables: Mapping[str, str], root: str) -> dict[str, str]:
    """The child's environment: without our settings (there are secrets among them), with the
    folder that Antiphon was imported from."""
    found = {key: value for key, value in variables.items() if not key.startswith("ANTIPHON_")}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (root, found.get("PYTHONPATH"))))
    return found
