"""`antiphon chat --say TEXT`: one question or command for scripts. Standard output is the answer
alone; what an earlier process left open is finished first, and told on standard error."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.adapter.terminal.desk import Desk
from antiphon.adapter.terminal.screen import Screen
from antiphon.adapter.terminal.showing import Showing, with_ending
from antiphon.adapter.terminal.text import safe
from antiphon.errors import EXIT_FAILED, EXIT_OK
from antiphon.sdk.interface import Outcome, Progress, Run


class Once:
    """One question. `as_json`: one JSON object on one line in place of the text."""

    def __init__(self, desk: Desk, screen: Screen, *, as_json: bool):
        self._desk = desk
        self._screen = screen
        self._as_json = as_json
        self._showing = Showing(desk, screen)

    async def say(self, text: str) -> int:
        """Asks `text` and tells the answer; the exit code is 1 where that is an error. The same
        text as that of a question that is still open is that question: so a script that was killed
        and asks again gets the one answer. Raises PlatformError."""
        earlier = await self._finish_open(text)
        result = earlier
        if result is None and self._desk.is_command(text):
            reply = await self._desk.command(text)
            if not isinstance(reply, Run):
                self._tell({"reply": reply.text}, reply.text)
                return EXIT_OK
            result = reply
        run = result or await self._desk.ask(text)
        if not self._as_json:
            return _code(await self._showing.show(run))
        last = await self._showing.wait(run)
        self._tell(_object(run, last), "")
        return _code(last)

    async def interrupt(self) -> None:
        """Stops the answer that is on its way."""
        await self._showing.stop()

    async def _finish_open(self, text: str) -> Run | None:
        """Ends what is open; the open run where `text` asks for just that."""
        kept = self._desk.journal.kept
        if kept.command is not None:
            reply = await self._desk.carry(kept.command)
            if isinstance(reply, Run):
                return await self._finish(reply, text)
            self._screen.remark(f"{kept.command.text}: {reply.text}")
        return None if kept.run is None else await self._finish(kept.run.run, text)

    async def _finish(self, run: Run, text: str) -> Run | None:
        question = "\n".join(said.text for said in run.question)
        if question == text:
            return run
        last = await self._showing.wait(run)
        self._screen.remark(f"The answer to what you asked before ({question[:80]}):")
        self._screen.remark(with_ending(run, last))
        return None

    def _tell(self, found: dict[str, Any], text: str) -> None:
        if self._as_json:
            self._screen.write(msgspec.json.encode(found).decode() + "\n")
        else:
            self._screen.write(safe(text).strip("\n") + "\n")


def _object(run: Run, last: Progress) -> dict[str, Any]:
    outcome = last.outcome or Outcome("success")
    found: dict[str, Any] = {
        "answer": last.text,
        "outcome": outcome.kind,
        "model": last.model,
        "run_id": run.run_id,
        "tools": [
            {"name": tool.name, "args": tool.args, "result": tool.result, "outcome": tool.outcome}
            for tool in last.tools
        ],
    }
    if outcome.kind == "error":
        found["error"] = {"code": outcome.code, "message": outcome.message}
    if outcome.usage is not None:
        found["usage"] = msgspec.to_builtins(outcome.usage)
    return found


def _code(last: Progress) -> int:
    return EXIT_FAILED if last.outcome is not None and last.outcome.kind == "error" else EXIT_OK
