"""Our history and tools as pydantic-ai's messages. Pure: no request is made here."""

from __future__ import annotations

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from antiphon.agent.engines.port import AssistantStep, StepRequest, ToolReturn, UserText


def messages(request: StepRequest) -> list[ModelMessage]:
    """The system prompt and the history, in order. An empty step (a run that was cancelled
    before its first word) is left out: providers refuse empty messages."""
    found: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    if request.system_prompt:
        parts.append(SystemPromptPart(request.system_prompt))
    for item in request.history:
        match item:
            case UserText(text):
                parts.append(UserPromptPart(text))
            case ToolReturn(call_id, name, content, is_error):
                parts.append(
                    ToolReturnPart(
                        tool_name=name,
                        content=content,
                        tool_call_id=call_id,
                        outcome="failed" if is_error else "success",
                    )
                )
            case AssistantStep() if response := _response(item):
                if parts:
                    found.append(ModelRequest(parts=parts))
                    parts = []
                found.append(response)
    found.append(ModelRequest(parts=parts))
    return found


def _response(step: AssistantStep) -> ModelResponse | None:
    parts: list[ModelResponsePart] = [TextPart(step.text)] if step.text else []
    parts += [ToolCallPart(call.name, call.args, tool_call_id=call.call_id) for call in step.calls]
    return ModelResponse(parts=parts) if parts else None


def parameters(request: StepRequest) -> ModelRequestParameters:
    """The granted tools; plain text is always allowed as an answer."""
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=tool.parameters,
            )
            for tool in request.tools
        ],
        allow_text_output=True,
    )
