"""A model that does what a script says: `ScriptedEngine`, for tests of the agent, and
`python -m antiphon.testing.engine SCRIPT.json`, the agent as a process with that model.

A script is a list of rules; the first one whose `when` is in the newest question applies (an empty
`when` always does). Its `steps[n]` is what the model's nth step of the run does: a list of actions,
at whose end the step is whole. In a process of its own gates are files, and what happened is
written to a file of JSON lines, so that a killed process tells too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from antiphon.agent.engines.port import (
    AssistantStep,
    Capabilities,
    EngineError,
    ReasoningChunk,
    StepDone,
    StepEvent,
    StepRequest,
    TextChunk,
    ToolCall,
    ToolSpec,
    UserText,
)
from antiphon.agent.tools.port import Tool, ToolContext


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One action of a step; the first field that is set says which."""

    text: str = ""
    """Streams this; `{question}` in it is the newest question, `{messages}` the number of user
    messages that the model was sent."""
    reasoning: str = ""
    words: int = 0
    """Streams this many words `w0 w1 …`, one a chunk."""
    pause_ms: int = 0
    gate: str = ""
    """Waits until the gate is opened."""
    call: tuple[str, str, str] | None = None
    """Asks for a tool: call id, name, arguments as JSON."""
    fail: tuple[str, str, bool] | None = None
    """Raises EngineError: code, message, retryable."""
    crash: str = ""
    """Raises RuntimeError with this text."""
    hang: bool = False
    kill: bool = False
    """Kills the process that it runs in, with SIGKILL."""
    stubborn_ms: int = 0
    """Hangs, and takes this long to close."""
    break_off: bool = False
    """Ends the step without saying that it is whole."""
    tokens: tuple[int, int] | None = None
    """The step says at its end that it took and gave so many."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the model does about a question."""

    steps: tuple[tuple[Act, ...], ...]
    when: str = ""


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that the model does."""

    rules: tuple[Rule, ...] = (Rule(((Act(text="You said: {question}"),),)),)
    context_tokens: int = 32_000
    tools: bool = True


def say(*texts: str) -> Rule:
    """A rule for every question: one step that streams `texts`."""
    return Rule((tuple(Act(text=text) for text in texts),))


class Journal:
    """What happened, in memory and (with a path) as JSON lines on disk."""

    def __init__(self, path: Path | None = None):
        self.lines: list[dict[str, Any]] = []
        self._path = path

    def write(self, **line: Any) -> None:
        """Adds a line; on disk before this returns."""
        self.lines.append(line)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")


class ScriptedEngine:
    """An engine and the registry of itself. `gates` of a test are asyncio events by name."""

    name = "scripted"

    def __init__(
        self, script: Script, *, folder: Path | None = None, journal: Journal | None = None
    ):
        self.script = script
        self.requests: list[StepRequest] = []
        self.closed_early = 0
        """Steps that were stopped from outside before their end."""
        self.running = 0
        """Steps that run now."""
        self._folder = folder
        self._gates: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = {}
        self.journal = journal or Journal()

    # --- the registry ---------------------------------------------------------------------------

    def resolve(self, model: str | None) -> tuple[ScriptedEngine, str]:
        if model not in (None, "scripted", "scripted:other"):
            raise EngineError(f"There is no model {model!r}.", code="unknown_model")
        return self, "" if model is None else model.partition(":")[2]

    def default_model(self) -> str:
        return "scripted"

    def allowed(self) -> tuple[str, ...]:
        return ("scripted", "scripted:other")

    async def check(self) -> None:
        return None

    async def look(self, model: str) -> None:
        return None

    async def close(self) -> None:
        return None

    # --- gates ----------------------------------------------------------------------------------

    def open(self, gate: str) -> None:
        """Lets whoever waits at the gate, now or later, pass."""
        self._event(self._gates, gate).set()

    async def reached(self, gate: str) -> None:
        """Returns when a step waits (or has waited) at the gate."""
        await self._event(self._reached, gate).wait()

    def _event(self, events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())

    async def _gate(self, name: str) -> None:
        self.journal.write(gate=name)
        self._event(self._reached, name).set()
        if self._folder is None:
            await self._event(self._gates, name).wait()
            return
        while not (self._folder / name).exists():  # noqa: ASYNC110 - all that two processes share
            await asyncio.sleep(0.005)

    # --- the engine -----------------------------------------------------------------------------

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities(self.script.tools, self.script.context_tokens, "scripted")

    async def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        self.requests.append(request)
        question, number = _place(request)
        self.journal.write(step=number, question=question)
        self.running += 1
        whole = False
        tokens: tuple[int, int] | tuple[None, None] = (None, None)
        try:
            calls: list[ToolCall] = []
            for act in self._acts(question, number):
                if act.break_off:
                    whole = True
                    return
                if act.call is not None:
                    calls.append(ToolCall(*act.call))
                tokens = act.tokens or tokens
                async for event in self._act(act, question, request):
                    yield event
            whole = True
            yield StepDone(tuple(calls), "tools" if calls else "stop", *tokens)
        except (EngineError, RuntimeError):
            whole = True
            raise
        finally:
            self.running -= 1
            if not whole:
                self.closed_early += 1
                self.journal.write(closed=number)

    def _acts(self, question: str, number: int) -> tuple[Act, ...]:
        for rule in self.script.rules:
            if rule.when in question:
                return rule.steps[min(number, len(rule.steps) - 1)]
        return (Act(fail=("model_failed", "The script has no rule for this.", False)),)

    async def _act(self, act: Act, question: str, request: StepRequest) -> AsyncIterator[StepEvent]:
        if act.text:
            count = sum(isinstance(item, UserText) for item in request.history)
            filled = act.text.replace("{question}", question).replace("{messages}", str(count))
            yield TextChunk(filled)
        for index in range(act.words):
            yield TextChunk(f"w{index} ")
            if act.pause_ms:
                await asyncio.sleep(act.pause_ms / 1000)
        if act.reasoning:
            yield ReasoningChunk(act.reasoning)
        if act.pause_ms:
            await asyncio.sleep(act.pause_ms / 1000)
        if act.gate:
            await self._gate(act.gate)
        if act.fail is not None:
            code, message, retryable = act.fail
            raise EngineError(message, code=code, retryable=retryable)
        if act.crash:
            raise RuntimeError(act.crash)
        if act.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if act.hang:
            await asyncio.Event().wait()
        if act.stubborn_ms:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(act.stubborn_ms / 1000)


def _place(request: StepRequest) -> tuple[str, int]:
    """The newest question, and the number of the step that is asked for."""
    last = max(i for i, item in enumerate(request.history) if isinstance(item, UserText))
    question = request.history[last]
    assert isinstance(question, UserText)
    after = request.history[last:]
    return question.text, sum(isinstance(item, AssistantStep) for item in after)


class ScriptedTools:
    """Tools that record each effect: `effect` (must not be run twice) and `lookup` (may be).

    Arguments: `say` and `times` (the result), `kill`, `gate` (waits after its effect), `note`,
    `crash`."""

    def __init__(self, engine: ScriptedEngine):
        self._engine = engine

    def all(self) -> tuple[Tool, ...]:
        return (self._tool("effect", repeatable=False), self._tool("lookup", repeatable=True))

    def _tool(self, name: str, *, repeatable: bool) -> Tool:
        async def run(arguments: dict[str, Any], context: ToolContext) -> str:
            self._engine.journal.write(effect=name, call_id=context.call_id, arguments=arguments)
            if arguments.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if gate := arguments.get("gate"):
                await self._engine._gate(str(gate))
            if arguments.get("note"):
                await context.thread.add_note(str(arguments["note"]), context.call_id)
            if arguments.get("crash"):
                raise RuntimeError(str(arguments["crash"]))
            return str(arguments.get("say", "done")) * int(arguments.get("times", 1))

        spec = ToolSpec(name, f"The tool {name}.", {"type": "object", "properties": {}})
        return Tool(spec, run, repeatable)


def main() -> int:
    """The agent with the scripted model and tools; gates and journal stand beside the script."""
    from antiphon import telemetry
    from antiphon.agent.__main__ import announce
    from antiphon.agent.app import serve
    from antiphon.settings import AgentSettings, General, read, section

    path = Path(sys.argv[1])
    script = msgspec.json.decode(path.read_bytes(), type=Script)
    engine = ScriptedEngine(
        script, folder=path.parent, journal=Journal(path.with_suffix(".journal"))
    )
    source = read()
    general = section(source, "", General)
    telemetry.configure(general.log_level, general.log_format, process="agent")
    asyncio.run(
        serve(
            general,
            section(source, "agent", AgentSettings),
            ready=announce,
            registry=lambda settings, state: engine,
            tools=ScriptedTools(engine).all(),
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
