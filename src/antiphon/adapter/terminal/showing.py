"""One run's answer on the screen, from the spinner to how it ended."""

from __future__ import annotations

from contextlib import aclosing

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
        self.running: Run | None = None

    async def show(self, run: Run) -> Progress:
        """Shows the answer of a kept run as it grows (or whole, where the settings say so), with
        what came of it. Gives the last of it. Raises AgentRefusedError."""
        growing = Growing(self._screen)
        last = Progress("")
        self.running = run
        try:
            async with aclosing(self._desk.follow(run)) as progress:
                async with self._screen.waiting():
                    async for last in progress:
                        if last.outcome is not None or (
                            run.settings.streaming and last.text.strip()
                        ):
                            break
                if last.outcome is None:
                    growing.show(last.text)
                async for last in progress:
                    if last.outcome is None:
                        growing.show(last.text)
        finally:
            self.running = None
        growing.settle(with_ending(run, last))
        return last


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
