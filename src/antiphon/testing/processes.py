"""Agent and adapter as real processes, as an operator runs them: started, killed, started again."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended that ran to its end by itself. `said`: the last line of its errors."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return (self.err.splitlines() or [""])[-1]


class Process:
    """`python -m antiphon ARGS` with settings by environment; `url` is what it said when ready.

    The same object can be started again after it ended; its log (both lives) is `log`."""

    def __init__(self, name: str, args: tuple[str, ...], env: dict[str, str], folder: Path):
        self.name = name
        self.url = ""
        self.log = folder / f"{name}.log"
        self._args = args
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")} | env
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the life that runs."""
        assert self._child is not None, "start it first"
        return self._child.pid

    def set(self, **env: str) -> None:
        """Changes settings of the next life."""
        self._env |= env

    async def start(self, timeout_s: float = 30.0) -> str:
        """Starts it and waits until it says `ready URL`; the URL. Raises RuntimeError with its log
        when it ended before that."""
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "antiphon", *self._args),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._env,
            )
        assert self._child.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._child.stdout.readline()
        if not line.startswith(b"ready "):
            code = await self._child.wait()
            raise RuntimeError(f"{self.name} ended with {code}:\n{self.log.read_text()[-4000:]}")
        self.url = line.decode().removeprefix("ready ").strip()
        return self.url

    async def once(self, *args: str, timeout_s: float = 60.0, given: str = "") -> Ended:
        """Runs a command with this process's settings to its end (by default the process's own
        one, for a start that is refused). `given` is its standard input."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "antiphon", *(args or self._args)),
            stdin=asyncio.subprocess.PIPE if given else None,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await child.communicate(given.encode() if given else None)
        except BaseException:
            child.kill()
            raise
        return Ended(child.returncode or 0, out.decode(), err.decode())

    async def on_terminal(self, *args: str, timeout_s: float = 60.0) -> Ended:
        """As `once`, with a terminal for input and output; errors are apart from it."""
        ours, its = pty.openpty()
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "antiphon", *args),
                stdin=its,
                stdout=its,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
            )
            os.close(its)
            try:
                async with asyncio.timeout(timeout_s):
                    shown = asyncio.create_task(asyncio.to_thread(_read_all, ours))
                    _, err = await child.communicate()
                    out = await shown
            except BaseException:
                child.kill()
                raise
        finally:
            os.close(ours)
        return Ended(child.returncode or 0, out.decode().replace("\r\n", "\n"), err.decode())

    async def stop(self) -> int:
        """SIGTERM; waits for its end. Gives the exit code."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> int:
        """SIGKILL; waits for its end."""
        return await self._end(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Any other signal, such as SIGSTOP."""
        assert self._child is not None
        self._child.send_signal(number)

    async def wait(self, timeout_s: float = 20.0) -> int:
        """Waits until it ends by itself; the exit code."""
        assert self._child is not None
        async with asyncio.timeout(timeout_s):
            return await self._child.wait()

    async def _end(self, number: signal.Signals) -> int:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.send_signal(number)
        async with asyncio.timeout(20):
            return await self._child.wait()


def _read_all(terminal: int) -> bytes:
    """What is shown on a terminal until nobody has its other end open any more."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how Linux says that
            return shown
        if not piece:
            return shown
        shown += piece


class Pair:
    """An agent and an adapter over one state folder. As an async context manager both are started,
    the agent first, and ended."""

    def __init__(
        self,
        folder: Path,
        *,
        homeserver: str,
        user: str,
        password: str,
        agent: dict[str, str] | None = None,
        matrix: dict[str, str] | None = None,
    ):
        state = folder / "state"
        shared = {
            "ANTIPHON_STATE_DIR": str(state),
            "ANTIPHON_LOG_FORMAT": "json",
            "ANTIPHON_AGENT__TOKEN": "a-token-of-the-tests-0123456789",
        }
        self.state = state
        self.agent = Process(
            "agent",
            ("agent", "serve"),
            shared
            | {"ANTIPHON_AGENT__PORT": "0"}
            | {f"ANTIPHON_AGENT__{k}": v for k, v in (agent or {}).items()},
            folder,
        )
        self.adapter = Process(
            "adapter",
            ("matrix", "run"),
            shared
            | {
                "ANTIPHON_MATRIX__HOMESERVER": homeserver,
                "ANTIPHON_MATRIX__USER": user,
                "ANTIPHON_MATRIX__PASSWORD": password,
                "ANTIPHON_MATRIX__ALLOW": "*",
                "ANTIPHON_MATRIX__BREAK_LOOPS": "false",
            }
            | {f"ANTIPHON_MATRIX__{k}": v for k, v in (matrix or {}).items()},
            folder,
        )

    async def start(self) -> None:
        """Starts both; the agent keeps the port of its first life."""
        await self.start_agent()
        self.adapter.set(ANTIPHON_AGENT__URL=self.agent.url)
        await self.adapter.start()

    async def start_agent(self) -> None:
        """Starts the agent alone, on the port of its first life."""
        url = await self.agent.start()
        port = url.rpartition(":")[2].partition("/")[0]
        self.agent.set(ANTIPHON_AGENT__PORT=port)

    async def stop(self) -> None:
        """Stops both."""
        await self.adapter.stop()
        await self.agent.stop()

    async def __aenter__(self) -> Pair:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
