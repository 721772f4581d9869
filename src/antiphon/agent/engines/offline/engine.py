"""The engine `offline`: deterministic, instant, honest about being no language model. It reads
the newest question and the history, asks for tools in one step and words the answer in the next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from antiphon.agent.engines.faults import stopping
from antiphon.agent.engines.offline import replies
from antiphon.agent.engines.offline.intents import (
    Ask,
    AskNotes,
    AskTime,
    Calculate,
    Count,
    Echo,
    Greet,
    Help,
    Intent,
    Remember,
    Search,
    Tell,
    parse,
)
from antiphon.agent.engines.offline.recall import Asked, count, newest, recall
from antiphon.agent.engines.port import (
    Capabilities,
    StepDone,
    StepEvent,
    StepRequest,
    TextChunk,
    ToolCall,
    ToolReturn,
    UserText,
)
from antiphon.agent.engines.quotes import unquoted
from antiphon.clock import Chance, SystemChance

CHARS_PER_TOKEN = 4


class OfflineEngine:
    """The assistant without a model; holds nothing between steps."""

    name = "offline"

    def __init__(self, chance: Chance | None = None):
        self._chance = chance or SystemChance()
        self._closed = False

    def capabilities(self, model: str) -> Capabilities:
        return Capabilities(
            tools=True, context_tokens=1_000_000, description="offline assistant, no language model"
        )

    async def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        if self._closed:
            raise stopping()
        asked = newest(request.history)
        granted = {tool.name for tool in request.tools}
        intents = [(question, parse(unquoted(question))) for question in asked.questions]
        if not asked.calls:
            calls = tuple(
                self._call(*needed)
                for _, intent in intents
                if (needed := tool_for(intent)) and needed[0] in granted
            )
            if calls:
                yield StepDone(calls=calls, finish="tools")
                return
        text = answer(asked, intents)
        limit = request.max_output_tokens * CHARS_PER_TOKEN
        for piece in replies.pieces(text[:limit]):
            yield TextChunk(piece)
            await asyncio.sleep(0)
        yield StepDone(finish="length" if len(text) > limit else "stop")

    def _call(self, name: str, arguments: dict[str, str]) -> ToolCall:
        return ToolCall(f"call_{self._chance.token()}", name, json.dumps(arguments))

    async def check(self) -> None:
        """There is nothing that could be missing."""

    async def look(self, model: str) -> None:
        """Nor here."""

    async def close(self) -> None:
        self._closed = True


def tool_for(intent: Intent) -> tuple[str, dict[str, str]] | None:
    """The tool that `intent` needs, with its arguments."""
    match intent:
        case AskTime(zone):
            return "clock", {"zone": zone} if zone else {}
        case Calculate(expression):
            return "calculator", {"expression": expression}
        case Remember(text):
            return "notes_add", {"text": text}
        case AskNotes():
            return "notes_list", {}
        case Search(words):
            return "search", {"words": words}
    return None


def answer(asked: Asked, intents: list[tuple[UserText, Intent]]) -> str:
    """The whole answer: one paragraph for each message of the question, in order."""
    results = [
        asked.returns.get(call.call_id, ToolReturn(call.call_id, call.name, "no result came", True))
        for call in asked.calls
    ]
    paragraphs: list[str] = []
    for question, intent in intents:
        needed = tool_for(intent)
        if needed is None:
            paragraphs.append(_from_history(asked, question, intent))
            continue
        # Calls were made in the order of the questions, for granted tools only.
        if results and results[0].name == needed[0]:
            paragraphs.append(_from_tool(intent, results.pop(0)))
        else:
            paragraphs.append(replies.not_granted(needed[0]))
    return "\n\n".join(paragraphs) or replies.UNKNOWN


def _from_tool(intent: Intent, result: ToolReturn) -> str:
    if result.is_error:
        return replies.failed(result)
    match intent:
        case AskTime():
            return replies.the_time(result.content)
        case Calculate(expression):
            return replies.the_value(expression, result.content)
        case AskNotes():
            return replies.the_notes(result.content)
        case Search(words):
            return replies.found(words, result.content)
    return f"{result.content}."


def _from_history(asked: Asked, question: UserText, intent: Intent) -> str:
    match intent:
        case Tell(subject, value):
            return replies.told(subject, value)
        case Ask(subject):
            return replies.recalled(subject, recall(asked, question.author, subject))
        case Echo(text):
            return text
        case Count():
            return replies.counted(*count(asked))
        case Greet(word):
            return replies.greeting(word)
        case Help():
            return replies.HELP
    return replies.UNKNOWN
