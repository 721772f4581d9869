"""The chat at the terminal: lines in, answers out, one after the other, until the lines end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from antiphon.adapter.terminal.desk import Desk
from antiphon.adapter.terminal.lines import Lines
from antiphon.adapter.terminal.screen import Screen
from antiphon.adapter.terminal.showing import Showing
from antiphon.adapter.terminal.text import shortened
from antiphon.errors import EXIT_FAILED, EXIT_OK, AgentRefusedError, PlatformError
from antiphon.sdk.commander import Reply
from antiphon.sdk.interface import Run

HISTORY = 3
HISTORY_LONGEST = 1_000
"""How many exchanges are shown at the start, and how much of each."""

QUITS = ("/quit", "/exit")
HINT = "Ctrl-C stops an answer; Ctrl-D leaves."


class Talk:
    """Talks until it is done. What is typed while an answer comes waits its turn, `!stop` acts at
    once. `interactive`: a person sits there; then lines that wait are kept like questions."""

    def __init__(self, desk: Desk, screen: Screen, *, interactive: bool):
        self._desk = desk
        self._screen = screen
        self._interactive = interactive
        self._showing = Showing(desk, screen)
        self._came = asyncio.Event()
        self._over = False
        self._stopping = asyncio.Event()
        self._asked_to_stop: Run | None = None

    def interrupt(self) -> None:
        """Ctrl-C: stops the answer that is on its way (the second time without waiting for the
        agent's word), or says how to leave."""
        if self._showing.running is not None:
            if self._asked_to_stop == self._showing.running:
                self._showing.give_up()
            self._asked_to_stop = self._showing.running
            self._stopping.set()
        else:
            self._screen.remark(f"\n{HINT}")
            self._screen.prompt()

    async def finish_open(self) -> None:
        """What an earlier process left open, brought to its end: its answer is shown now."""
        kept = self._desk.journal.kept
        if kept.command is not None:
            self._screen.said(kept.command.text)
            await self._one(self._desk.carry(kept.command))
        if kept.run is not None:
            self._screen.remark("Your last question was not answered to the end:")
            self._screen.said("\n".join(said.text for said in kept.run.run.question))
            await self._answer(kept.run.run)

    async def show_history(self) -> None:
        """The last exchanges of the current conversation."""
        exchanges = await self._desk.history()
        if len(exchanges) > HISTORY:
            self._screen.remark(f"({len(exchanges) - HISTORY} earlier questions)")
        for one in exchanges[-HISTORY:]:
            self._screen.said(
                shortened("\n".join(said.text for said in one.question), HISTORY_LONGEST)
            )
            self._screen.heard(shortened(one.answer or "(nothing)", HISTORY_LONGEST))

    async def talk(self, lines: Lines) -> int:
        """Talks until the lines end or someone leaves; gives the exit code: 1 where, with nobody at
        the terminal, an answer was an error."""
        failed = False
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(lines), name="lines")
            stopping = group.create_task(self._stop_when_asked(), name="stop")
            await asyncio.sleep(0)  # what was typed before we were ready is there then
            try:
                while (line := await self._next()) is not None:
                    if line.strip() in QUITS:
                        self._desk.drop_waiting()
                        break
                    if line.strip():
                        failed = await self._exchange(line.strip()) or failed
                    self._desk.settle_waiting()
            finally:
                reading.cancel()
                stopping.cancel()
        if self._interactive:
            self._screen.write("\n")
        return EXIT_FAILED if failed and not self._interactive else EXIT_OK

    async def _exchange(self, text: str) -> bool:
        """One line and what comes of it; whether that was an error. Raises AgentRefusedError."""
        if not self._desk.is_command(text):
            return await self._one(self._desk.ask(text))
        failed = await self._one(self._desk.command(text))
        if self._interactive and self._desk.switches(text):
            await self.show_history()
        return failed

    async def _one(self, doing: Awaitable[Run | Reply]) -> bool:
        """A question or command that is being kept: its answer or reply; whether it failed."""
        try:
            result = await doing
        except AgentRefusedError:
            raise
        except PlatformError as error:
            self._screen.remark(f"antiphon: {error.message}")
            return True
        if isinstance(result, Run):
            return await self._answer(result)
        self._screen.answer(result.text)
        return False

    async def _answer(self, run: Run) -> bool:
        self._stopping.clear()
        last = await self._showing.show(run)
        return last.outcome is not None and last.outcome.kind == "error"

    # --- lines ------------------------------------------------------------------------------------

    async def _next(self) -> str | None:
        """The next line; None when there will be no more."""
        if self._desk.has_waiting():
            line = self._desk.take()
            if self._interactive:
                self._screen.said(line)
            return line
        if self._interactive and not self._over:
            self._screen.prompt()
        while not self._desk.has_waiting():
            if self._over:
                return None
            self._came.clear()
            await self._came.wait()
        return self._desk.take()

    async def _read(self, lines: Lines) -> None:
        while (line := await lines.next()) is not None:
            if self._showing.running is not None and self._desk.is_stop(line.strip()):
                self._stopping.set()
            elif line.strip():
                self._desk.put(line, keep=self._interactive)
                self._came.set()
            elif self._interactive and self._showing.running is None:
                self._screen.prompt()
        self._over = True
        self._came.set()

    async def _stop_when_asked(self) -> None:
        while True:
            await self._stopping.wait()
            self._stopping.clear()
            await self._showing.stop()
