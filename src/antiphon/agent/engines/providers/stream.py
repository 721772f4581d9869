"""One streamed request: pydantic-ai's events as ours. A stream that ends whole but without a reason
is an answer: some OpenAI-compatible servers never send one."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
)
from pydantic_ai.settings import ModelSettings

from antiphon.agent.engines.port import (
    EngineError,
    ReasoningChunk,
    StepDone,
    StepEvent,
    StepRequest,
    TextChunk,
    ToolCall,
)
from antiphon.agent.engines.providers import sentences
from antiphon.agent.engines.providers.messages import messages, parameters
from antiphon.agent.engines.providers.models import Backend
from antiphon.clock import Chance


async def play(
    backend: Backend, request: StepRequest, chance: Chance
) -> AsyncGenerator[StepEvent, None]:
    """Asks once. Raises pydantic-ai's own errors, and EngineError for an answer that is none."""
    settings = ModelSettings(**backend.settings(request.max_output_tokens))  # type: ignore[typeddict-item]
    async with model_request_stream(
        backend.model,
        messages(request),
        model_settings=settings,
        model_request_parameters=parameters(request),
    ) as stream:
        wrote = False
        async for event in stream:
            chunk = _chunk(event)
            if chunk is not None:
                wrote = wrote or isinstance(chunk, TextChunk)
                yield chunk
        response = stream.get()
    yield _end(response, chance, wrote=wrote)


def _chunk(event: ModelResponseStreamEvent) -> TextChunk | ReasoningChunk | None:
    match event:
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return TextChunk(text) if text else None
        case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=text)):
            return ReasoningChunk(text) if text else None
        case PartStartEvent(part=TextPart(content=text)):
            return TextChunk(text) if text else None
        case PartStartEvent(part=ThinkingPart(content=text)):
            return ReasoningChunk(text) if text else None
    return None


def _end(response: ModelResponse, chance: Chance, *, wrote: bool) -> StepDone:
    """The end of the step. Call ids are ours: some servers number calls anew in each answer, and
    ours must be unique in the thread."""
    calls = tuple(
        ToolCall(f"call_{chance.token()}", part.tool_name, part.args_as_json_str())
        for part in response.tool_calls
    )
    if not wrote and not calls:
        if response.finish_reason == "content_filter":
            raise EngineError(sentences.FILTERED, code="model_refused")
        if response.finish_reason == "length":
            raise EngineError(sentences.NO_ROOM, code="model_failed")
        raise EngineError(sentences.EMPTY, code="model_failed", retryable=True)
    usage = response.usage
    return StepDone(
        calls=calls,
        finish="tools" if calls else "length" if response.finish_reason == "length" else "stop",
        input_tokens=usage.input_tokens or None,
        output_tokens=usage.output_tokens or None,
    )
