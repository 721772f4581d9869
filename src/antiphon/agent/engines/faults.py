"""Errors that every engine has in common."""

from __future__ import annotations

from antiphon.agent.engines.port import EngineError


def stopping() -> EngineError:
    """The engine was closed."""
    return EngineError("The agent is stopping.", code="model_unavailable", retryable=True)


def not_set_up() -> EngineError:
    """A step found the settings wrong; the reason is for the operator's log, not for the room."""
    return EngineError(
        "The agent's model is not set up. Its operator finds the reason in the agent's log.",
        code="model_unavailable",
    )
