"""One run's answer on the screen, from the spinner to how it ended."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext

import msgspec

from antiphon.adapter.terminal.desk import Desk
from antiphon.adapter.terminal.screen import Growing, Screen
from antiphon.core.render.answer import Parts, error_id, failed, finished, stopped, with_tools
from antiphon.core.render.tools import with_results
from antiphon.sdk.interface import Outcome, Progress, Run


class Showing:
    """Shows answers; one at a time. `running`: the run whose answer is on its way."""

    def __init__(self, desk: Desk, screen: Screen):
        self._desk = desk
        self._screen = screen
        self._patience: asyncio.Timeout | None = None
        self.running: Run | None = None

    async def show(self, run: Run) -> Progress:
        """Shows the answer of a kept run as it grows (or whole, where the settings say so), with
        what came of it. Gives the last of it. Raises AgentRefusedError."""
        growing = Growing(self._screen)
        last = await self._until_over(run, growing)
        growing.settle(with_ending(run, last))
        return last

    async def wait(self, run: Run) -> Progress:
        """As `show`, without showing it."""
        return await self._until_over(run, None)

    async def stop(self) -> None:
        """Ends the run whose answer is on its way. Where the agent can't be told now it is owed
        that, and what there is of the answer is all that is shown."""
        run = self.running
        if run is not None and not await self._desk.stop(run) and self.running == run:
            self.give_up()

    def give_up(self) -> None:
        """Waits no more for the answer that is on its way; the agent is owed the cancel."""
        if self._patience is not None and self.running is not None:
            self._desk.owe_cancel(self.running)
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _until_over(self, run: Run, growing: Growing | None) -> Progress:
        last = Progress("")
        self.running = run
        try:
            async with asyncio.timeout(None) as self._patience:
                async with aclosing(self._desk.follow(run)) as progress:
                    async with nullcontext() if growing is None else self._screen.waiting():
                        async for last in progress:
                            if growing is not None and _shows(run, last):
                                break
                    if growing is not None and last.outcome is None:
                        growing.show(last.text)
                    async for last in progress:
                        if growing is not None and last.outcome is None:
                            growing.show(last.text)
        except TimeoutError:
            self._desk.let_go(run)
            last = msgspec.structs.replace(last, outcome=Outcome("cancelled"))
        finally:
            self.running = self._patience = None
        return last


def _shows(run: Run, progress: Progress) -> bool:
    """Whether this is the first thing to show of an answer."""
    return progress.outcome is not None or (run.settings.streaming and bool(progress.text.strip()))


def with_ending(run: Run, last: Progress) -> str:
    """The answer's text with what is added to it: how it ended where that was not as wanted, and
    the tools where the settings want to see them."""
    text, outcome = last.text.rstrip(), last.outcome or Outcome("success")
    parts: Parts = (text,) if text else ()
    if outcome.kind == "cancelled":
        parts = stopped(parts)
    elif outcome.kind == "error":
        parts = failed(parts, outcome.message, error_id(run.run_id, outcome.code))
    else:
        parts = finished(parts)
    if run.settings.show_tools == "names":
        parts = with_tools(parts, (tool.name for tool in last.tools))
    elif run.settings.show_tools == "results":
        parts = with_results(parts, ((t.name, t.result, t.outcome) for t in last.tools))
    return "\n\n".join(parts)
