"""One process of a campaign that is brought back whenever it dies, as a supervisor would, each life
with its own order where to die."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from antiphon.crash import VARIABLE

KILLED = -signal.SIGKILL


class Keeper:
    """`python -m antiphon ARGS` over and over. `plans` are the crash orders of its lives, one
    each; lives after the last plan have none.

    With `mutant`, every life runs with that fault in its code (`antiphon.testing.mutants`)."""

    def __init__(
        self,
        name: str,
        args: tuple[str, ...],
        env: dict[str, str],
        folder: Path,
        *,
        plans: tuple[str, ...] = (),
        mutant: str = "",
    ):
        self.name = name
        self.log = folder / f"{name}.log"
        self.lives = 0
        self.died_at: list[str] = []
        """The crash orders that were carried out."""
        self.ended: list[int] = []
        """Exit codes of lives that ended in another way than by SIGKILL."""
        self.restarts = True
        """Whether a death is followed by a new life."""
        self.ready_at = 0.0
        """Monotonic time at which the newest life said that it is ready."""
        self._args = args
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")} | env
        self._plans = deque(plans)
        self._mutant = mutant
        self._child: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ours = False  # whether the campaign killed this life itself
        self._ready = asyncio.Event()
        self._down = asyncio.Event()

    async def start(self) -> None:
        """Begins its lives; does not wait until one is ready."""
        self._down.clear()
        self.restarts = True
        self._task = asyncio.create_task(self._live())

    async def ready(self, timeout_s: float = 30.0) -> None:
        """Waits until a life that runs has said `ready`."""
        async with asyncio.timeout(timeout_s):
            await self._ready.wait()

    async def down(self, timeout_s: float) -> bool:
        """Waits until a life has ended since `start`; whether one has in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._down.wait()
                return True
        return False

    def order(self, *plans: str) -> None:
        """Crash orders for the next lives, before those that are waiting."""
        self._plans.extendleft(reversed(plans))

    def take_plans(self) -> tuple[str, ...]:
        """The crash orders that wait; they are taken back."""
        taken = tuple(self._plans)
        self._plans.clear()
        return taken

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the life that runs, if one does."""
        if self._child is not None and self._child.returncode is None:
            self._ours = self._ours or number == signal.SIGKILL
            self._child.send_signal(number)

    @property
    def running(self) -> bool:
        """Whether a life runs."""
        return self._child is not None and self._child.returncode is None

    async def end(self, number: signal.Signals = signal.SIGKILL, timeout_s: float = 20.0) -> None:
        """Ends the life that runs, for good."""
        self.restarts = False
        self.send(signal.SIGCONT)
        self.send(number)
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._task), timeout_s)
            if not self._task.done():
                self.send(signal.SIGKILL)
                await self._task
        self._task = None

    async def _live(self) -> None:
        while True:
            plan = self._plans.popleft() if self._plans else ""
            code = await self._life(plan)
            self._ready.clear()
            self._down.set()
            if code == KILLED:
                if plan and not self._ours:
                    self.died_at.append(plan)
            else:
                self.ended.append(code)
            if not self.restarts:
                return
            if code != KILLED and len(self.ended) > 3:
                return  # it does not work at all

    async def _life(self, plan: str) -> int:
        module = ["antiphon.testing.mutant_process", self._mutant] if self._mutant else ["antiphon"]
        self.lives += 1
        self._ours = False
        with self.log.open("ab") as log:
            log.write(f"--- life {self.lives}, order {plan!r}, at {time.time():.3f}\n".encode())
            log.flush()
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", *module, "--die-with-parent", *self._args),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._env | ({VARIABLE: plan} if plan else {}),
            )
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            if line.startswith(b"ready "):
                self.ready_at = time.monotonic()
                self._ready.set()
        return await self._child.wait()
