"""One supervised child process: started, listened to, started again when it dies, ended.

A child says `ready URL` on its standard output when it is ready, `antiphon: SENTENCE` on standard
error when it ends in an error, and anything else on standard error is its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from antiphon import telemetry
from antiphon.clock import Clock, SystemClock
from antiphon.run.policy import Backoff, ChildEndedError, Death, GiveUp, after_exit

READY_PREFIX = "ready "
SENTENCE_PREFIX = "antiphon: "

_MAX_LINE = 65_536
_DRAIN_S = 1.0


class ChildSpec(msgspec.Struct, frozen=True):
    """What to start: a name for people, the command, and its whole environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]


class Child:
    """A process that is kept running by `run`.

    `log_line` gets each line of the child's log, `on_death` each death (by default it is logged).
    `ready` is set when it says so for the first
    time, `url` is the address it then gave, `sentence` the last error that it told."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        log_line: Callable[[str], None],
        on_death: Callable[[Death], None] | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        grace_s: float = 10.0,
    ):
        self.spec = spec
        self.ready = asyncio.Event()
        self.url = ""
        self.sentence = ""
        self.pid: int | None = None
        self._told = False
        self._log_line = log_line
        self._on_death = on_death or self._log_death
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self._grace_s = grace_s
        self._log = telemetry.logger("run")

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps the child running until `stop` is set, then ends it: SIGTERM, and SIGKILL for its
        process group `grace_s` seconds later. Cancelling ends it likewise.

        Raises ChildEndedError when the child says that its settings are wrong (exit code 2), or
        never gets ready in the tries that it has."""
        failures = 0
        while not stop.is_set():
            began = self._clock.monotonic()
            code = await self._once(stop)
            if stop.is_set():
                return
            lived = self._clock.monotonic() - began
            told = self.sentence if self._told else ""
            was_ready = self.ready.is_set()
            match after_exit(code, lived, failures, self._backoff, was_ready=was_ready):
                case GiveUp(exit_code):
                    raise ChildEndedError(
                        told or f"The {self.spec.name} ended with exit code {code}.", exit_code
                    )
                case restart:
                    failures = restart.failures
                    self._on_death(Death(self.spec.name, code, told, restart.delay_s))
                    await self._either(stop.wait(), self._clock.sleep(restart.delay_s))

    def _log_death(self, death: Death) -> None:
        self._log.warning(
            "child_died",
            child=death.child,
            exit_code=death.exit_code,
            error=death.error or None,
            restart_in_s=death.restart_in_s,
        )

    async def _once(self, stop: asyncio.Event) -> int:
        """One life of the child; returns its exit code (negative: the signal)."""
        process = await asyncio.create_subprocess_exec(
            *self.spec.argv,
            env=self.spec.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of its own: Ctrl-C reaches us alone, and a kill takes its children along.
            process_group=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid, self._told = process.pid, False
        async with asyncio.TaskGroup() as group:
            readers = (
                group.create_task(self._read_output(process.stdout)),
                group.create_task(self._read_log(process.stderr)),
            )
            try:
                await self._either(process.wait(), stop.wait())
            finally:
                await self._end(process)
                # What the child's own children still hold open is not waited for.
                await asyncio.wait(readers, timeout=_DRAIN_S)
                for reader in readers:
                    reader.cancel()
                process.stdin.close()
                self.pid = None
        assert process.returncode is not None
        return process.returncode

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._grace_s):
                await process.wait()
        except TimeoutError:
            self._log.warning("child_killed", child=self.spec.name, after_s=self._grace_s)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def _read_output(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            if line.startswith(READY_PREFIX):
                self.url = line.removeprefix(READY_PREFIX)
                self.ready.set()
            elif line:
                self._log_line(line)

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            if line.startswith(SENTENCE_PREFIX):
                self.sentence, self._told = line.removeprefix(SENTENCE_PREFIX), True
            else:
                self._log_line(line)

    @staticmethod
    async def _either(*waits: Coroutine[Any, Any, object]) -> None:
        """Waits for whichever comes first and cancels the rest."""
        tasks = [asyncio.create_task(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines without their ends; one that is longer than a log line may be comes in pieces."""
    held = b""
    while chunk := await stream.read(_MAX_LINE):
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if len(held) > _MAX_LINE:
            yield held.decode(errors="replace")
            held = b""
    if held:
        yield held.decode(errors="replace")
