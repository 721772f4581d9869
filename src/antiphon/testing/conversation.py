"""A thread in memory, and whole turns with an engine and tools against it: what the agent's run
loop does, without its store, for tests of engines and tools alone."""

from __future__ import annotations

import json

from antiphon.agent.engines.port import (
    AssistantStep,
    Engine,
    HistoryItem,
    StepDone,
    StepRequest,
    TextChunk,
    ToolCall,
    ToolReturn,
    UserText,
)
from antiphon.agent.tools.port import Note, PastMessage, Tool, ToolContext, ToolRefusedError

NOW_MS = 1_795_344_082_000
"""Sunday, 22 November 2026, 10:41:22 UTC."""


class MemoryThread:
    """`ThreadAccess` in memory."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}
        self.past: list[PastMessage] = []

    async def add_note(self, text: str, call_id: str) -> Note:
        return self._notes.setdefault(call_id, Note(len(self._notes) + 1, text, NOW_MS))

    async def notes(self) -> tuple[Note, ...]:
        return tuple(self._notes.values())

    async def search(self, words: str, limit: int) -> tuple[PastMessage, ...]:
        wanted = words.lower().split()
        found = [m for m in reversed(self.past) if all(w in m.text.lower() for w in wanted)]
        return tuple(found[:limit])

    def now_ms(self) -> int:
        return NOW_MS


class Conversation:
    """One thread's history with an engine: `say` asks and gives the whole answer."""

    def __init__(self, engine: Engine, model: str = "", tools: tuple[Tool, ...] = ()):
        self.engine = engine
        self.model = model
        self.tools = tools
        self.thread = MemoryThread()
        self.history: list[HistoryItem] = []
        self.calls: list[ToolCall] = []

    def request(self, *, max_output_tokens: int = 500) -> StepRequest:
        """The next model step over the history as it stands."""
        return StepRequest(
            model=self.model,
            system_prompt="You are a helpful assistant.",
            history=tuple(self.history),
            tools=tuple(tool.spec for tool in self.tools),
            max_output_tokens=max_output_tokens,
        )

    def request_of(self, text: str) -> StepRequest:
        """A first step that asks `text`."""
        self.history.append(UserText(text))
        return self.request()

    async def say(self, text: str, *, author: str | None = None) -> str:
        """Asks `text`, runs the tools that the engine asks for, returns the answer's text."""
        self.history.append(UserText(text, author))
        for _ in range(8):
            written, done = await collect(self.engine, self.request())
            self.history.append(AssistantStep(written, done.calls))
            if not done.calls:
                self.thread.past.append(PastMessage("user", text, NOW_MS))
                self.thread.past.append(PastMessage("assistant", written, NOW_MS))
                return written
            for call in done.calls:
                self.calls.append(call)
                self.history.append(await self._run(call))
        raise AssertionError("the engine asks for tools without end")

    async def _run(self, call: ToolCall) -> ToolReturn:
        tool = next(tool for tool in self.tools if tool.spec.name == call.name)
        try:
            content = await tool.run(json.loads(call.args), ToolContext(call.call_id, self.thread))
        except ToolRefusedError as error:
            return ToolReturn(call.call_id, call.name, str(error), is_error=True)
        return ToolReturn(call.call_id, call.name, content)


async def collect(engine: Engine, request: StepRequest) -> tuple[str, StepDone]:
    """One step: its whole text and its end, which must be the last thing that it yields."""
    text: list[str] = []
    ends: list[StepDone] = []
    async for event in engine.step(request):
        assert not ends, f"{event} came after the end"
        if isinstance(event, TextChunk):
            text.append(event.text)
        elif isinstance(event, StepDone):
            ends.append(event)
    assert len(ends) == 1, "a step must end with exactly one StepDone"
    return "".join(text), ends[0]
