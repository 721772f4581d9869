"""How the calls of a step are run: through the ledger, one after the other.

The intent is committed before the effect, the result after it. On resumption a recorded result
stands; an intent without a result is run again only where the tool is repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.agent.live import Interrupted, LiveRun
from antiphon.agent.model import CallOutcome, CallRow, RunRow
from antiphon.agent.problems import clean, report
from antiphon.agent.recorder import Recorder
from antiphon.agent.store import ledger
from antiphon.agent.store.lifecycle import UNKNOWN_OUTCOME
from antiphon.agent.tools.port import ThreadAccess, Tool, ToolContext, ToolRefusedError
from antiphon.agent_api.messages import ToolEnd, ToolResult
from antiphon.clock import Chance
from antiphon.crash import crash_point
from antiphon.errors import StateError

MAX_RESULT_CHARS = 20_000
"""A tool's result above this is cut, and says so."""


class Result(msgspec.Struct, frozen=True):
    """What came of a call."""

    outcome: CallOutcome
    content: str
    truncated: bool = False


class CallRunner:
    """Runs the calls of one attempt."""

    def __init__(
        self,
        run: RunRow,
        live: LiveRun,
        recorder: Recorder,
        tools: Mapping[str, Tool],
        access: ThreadAccess,
        chance: Chance,
    ):
        self._run = run
        self._live = live
        self._recorder = recorder
        self._tools = tools
        self._access = access
        self._chance = chance

    async def complete(self, call: CallRow, seconds_left: float) -> CallRow:
        """The call with its result, which is recorded. Raises Interrupted, DatabaseError,
        LeaseLostError."""
        if call.state == "done":
            return call
        tool = self._tools.get(call.name)
        recorder, thread = self._recorder, self._run.thread
        if call.state == "asked":
            crash_point("call.before_intent")
            await recorder.commit(
                recorder.draft(ToolEnd, call_id=call.call_id),
                also=lambda connection: ledger.begin(connection, thread, call.call_id),
            )
            crash_point("call.intended")
        elif tool is None or not tool.repeatable:
            return await self._record(call, Result("unknown", UNKNOWN_OUTCOME))
        result = await self._result(call, tool, seconds_left)
        crash_point("call.acted")
        recorded = await self._record(call, result)
        crash_point("call.recorded")
        return recorded

    async def _result(self, call: CallRow, tool: Tool | None, seconds_left: float) -> Result:
        if tool is None:
            return Result("error", f"There is no tool {call.name!r} here.")
        try:
            arguments = msgspec.json.decode(call.args or "{}")
        except msgspec.DecodeError:
            return Result("error", "The arguments are no valid JSON.")
        if not isinstance(arguments, dict):
            return Result("error", "The arguments must be a JSON object.")
        return await self._ran(call, tool, arguments, seconds_left)

    async def _ran(
        self, call: CallRow, tool: Tool, arguments: dict[str, Any], seconds_left: float
    ) -> Result:
        async def work() -> str:
            return await tool.run(arguments, ToolContext(call.call_id, self._access))

        try:
            content = clean(await self._live.guard(work(), seconds_left))
        except (Interrupted, StateError):
            raise
        except ToolRefusedError as refusal:
            return Result("error", clean(str(refusal)))
        except Exception as error:  # noqa: BLE001 - a tool's bug is the call's result
            number = report(
                "agent.tools", "tool failed", error, self._chance, tool=call.name, run=call.run_id
            )
            return Result("error", f"The tool failed (error {number}).")
        if len(content) > MAX_RESULT_CHARS:
            left = len(content) - MAX_RESULT_CHARS
            note = f"\n[… cut: {left:,} more characters]"
            return Result("ok", content[:MAX_RESULT_CHARS] + note, truncated=True)
        return Result("ok", content)

    async def _record(self, call: CallRow, result: Result) -> CallRow:
        recorder, thread = self._recorder, self._run.thread

        def keep(connection: Connection) -> None:
            ledger.finish(
                connection, thread, call.call_id, result.outcome, result.content, result.truncated
            )

        await recorder.commit(
            recorder.draft(
                ToolResult,
                call_id=call.call_id,
                content=result.content,
                outcome=result.outcome,
                truncated=result.truncated,
            ),
            also=keep,
        )
        return msgspec.structs.replace(
            call,
            state="done",
            outcome=result.outcome,
            content=result.content,
            truncated=result.truncated,
        )
