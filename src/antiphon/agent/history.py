"""What a model is sent of a thread: the newest turns that fit a token budget. Pure.

Rules: the question and what its run did so far always go; then whole turns, newest first, until
one does not fit. A call never goes without its result. Oversized tool results are cut with a note.
Answered runs are history, and cancelled ones with the text so far and a note; a run that ended in
an error is not, question and all: its question may be what broke it, and who asked will ask again.
"""

from __future__ import annotations

import msgspec

from antiphon.agent import tokens
from antiphon.agent.attribution import RULE, attributed, several
from antiphon.agent.engines.port import (
    AssistantStep,
    Capabilities,
    EngineError,
    HistoryItem,
    ToolCall,
    ToolReturn,
    ToolSpec,
    UserText,
)
from antiphon.agent.model import FrozenSettings, StepRow, Turn
from antiphon.agent_api.messages import InputPart, RunErrorCode

STOPPED = "[The answer was stopped here.]"
NO_RESULT = "outcome unknown: no result was recorded."
CUT = "\n[… cut: {left} more characters]"

RESULT_SHARES = (2, 8, 32)
"""A tool result of this run may take this part of the budget: the first that makes all fit."""
OLD_RESULT_SHARE = 16
"""The same for results of earlier turns."""
MIN_RESULT_TOKENS = 24


class Prompt(msgspec.Struct, frozen=True):
    """What a step is sent: the system prompt and the bounded history; `input_tokens` is what that
    (with the tools' declarations) is estimated at."""

    system_prompt: str
    history: tuple[HistoryItem, ...]
    max_output_tokens: int
    input_tokens: int


def build(
    settings: FrozenSettings,
    capabilities: Capabilities,
    specs: tuple[ToolSpec, ...],
    turns: list[Turn],
    question: tuple[InputPart, ...],
    steps: tuple[StepRow, ...],
) -> Prompt:
    """The prompt of the next step. `turns`: earlier runs, newest first; `steps`: this run's.

    Raises EngineError `question_too_long` (the question alone does not fit; the sentence says how
    long it may be) and `too_many_steps` (the run's own work does not)."""
    output = max(1, min(settings.max_output_tokens, capabilities.context_tokens // 2))
    named = several([question, *(turn.input for turn in turns)])
    system = f"{settings.system_prompt}\n\n{RULE}".strip() if named else settings.system_prompt
    fixed = _cost_of_texts([system, *(_declaration(spec) for spec in specs)])
    room = capabilities.context_tokens - output - fixed
    budget = max(0, min(settings.history_tokens, room))

    asked = _question(question, named)
    cost = fixed + _cost(asked)
    free = budget - _cost(asked)
    if free < 0:
        most = tokens.characters(budget - len(asked) * tokens.MESSAGE_TOKENS)
        raise EngineError(
            "Your message is too long for me: it may have about "
            f"{most:,} characters. Please send a shorter one.",
            code=RunErrorCode.QUESTION_TOO_LONG,
        )
    work = _work(steps, budget, free)
    free -= _cost(work)
    cost += _cost(work)
    earlier: list[list[HistoryItem]] = []
    most_result = max(MIN_RESULT_TOKENS, budget // OLD_RESULT_SHARE)
    for turn in turns:
        items = [*_question(turn.input, named), *_answer(turn, most_result)]
        free -= _cost(items)
        if free < 0:
            break
        cost += _cost(items)
        earlier.append(items)
    past = [item for items in reversed(earlier) for item in items]
    return Prompt(system, (*past, *asked, *work), output, cost)


def _question(parts: tuple[InputPart, ...], named: bool) -> list[HistoryItem]:
    return [UserText(attributed(part) if named else part.text, part.author) for part in parts]


def _work(steps: tuple[StepRow, ...], budget: int, free: int) -> list[HistoryItem]:
    """This run's steps so far, with results cut as far as needed."""
    for share in RESULT_SHARES:
        most = max(MIN_RESULT_TOKENS, budget // share)
        items = [item for step in steps for item in _step(step, most)]
        if _cost(items) <= free:
            return items
    raise EngineError(
        "This needed more steps than I can keep in mind. Please ask for less at a time.",
        code=RunErrorCode.TOO_MANY_STEPS,
    )


def _answer(turn: Turn, most_result: int) -> list[HistoryItem]:
    items = [item for step in turn.steps for item in _step(step, most_result)]
    if turn.status == "cancelled":
        last = items.pop() if items and _is_text(items[-1]) else AssistantStep("")
        assert isinstance(last, AssistantStep)
        items.append(AssistantStep(f"{last.text}\n{STOPPED}".strip()))
    return items


def _is_text(item: HistoryItem) -> bool:
    return isinstance(item, AssistantStep) and not item.calls


def _step(step: StepRow, most_result: int) -> list[HistoryItem]:
    calls = tuple(ToolCall(call.call_id, call.name, call.args) for call in step.calls)
    if not step.text and not calls:
        return []
    items: list[HistoryItem] = [AssistantStep(step.text, calls)]
    for call in step.calls:
        content = NO_RESULT if call.content is None else _shortened(call.content, most_result)
        items.append(ToolReturn(call.call_id, call.name, content, call.outcome != "ok"))
    return items


def _shortened(content: str, most: int) -> str:
    if tokens.estimate(content) <= most:
        return content
    kept = tokens.cut(content, max(0, most - tokens.estimate(CUT) - 4))
    return kept + CUT.format(left=f"{len(content) - len(kept):,}")


def _declaration(spec: ToolSpec) -> str:
    return f"{spec.name}{spec.description}{msgspec.json.encode(spec.parameters).decode()}"


def _cost(items: list[HistoryItem]) -> int:
    return sum(_cost_of_texts(_texts(item)) for item in items)


def _cost_of_texts(texts: list[str]) -> int:
    return sum(tokens.estimate(text) + tokens.MESSAGE_TOKENS for text in texts if text)


def _texts(item: HistoryItem) -> list[str]:
    match item:
        case AssistantStep():
            return [item.text or " ", *(f"{call.name}{call.args}" for call in item.calls)]
        case _:
            return [item.text if isinstance(item, UserText) else item.content or " "]
