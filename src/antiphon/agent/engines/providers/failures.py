"""What went wrong at a provider, as EngineErrors. Pure. No message of a provider is passed on:
some quote the key that they refuse."""

from __future__ import annotations

from pydantic_ai import exceptions as foreign

from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.providers.sentences import (
    BROKE_OFF,
    FILTERED,
    NO_SENSE,
    REFUSED_KEY,
    unknown_name,
)

FOREIGN = (foreign.AgentRunError, foreign.UserError)
"""Everything that pydantic-ai raises for a request."""


def translate(error: Exception, model: str, *, begun: bool) -> EngineError:
    """`error` as the person who asked should see it. `begun`: something of the answer has come."""
    match error:
        case foreign.ModelAuthenticationError():
            return _refused(REFUSED_KEY)
        case foreign.ModelNotFoundError():
            return _refused(unknown_name(model))
        case foreign.ModelContextWindowExceededError():
            return _refused(
                "This conversation is too long for the model. Begin a new one, or the operator can "
                "lower `[agent] history_tokens`."
            )
        case foreign.ModelQuotaExceededError():
            return EngineError(
                "The agent's account at the model's provider has no credit left.",
                code="model_unavailable",
            )
        case foreign.ContentFilterError():
            return _refused(FILTERED)
        case foreign.ModelRequestRejectedError():
            return _refused(f"The model's server refused the request{_status(error)}.")
        case _ if begun:
            return EngineError(BROKE_OFF, code="model_failed", retryable=True)
        case foreign.ModelRateLimitError():
            return _unavailable("The model's provider is rate limiting us. Ask again in a minute.")
        case foreign.ModelConnectionError() | foreign.ModelRequestTimeout():
            return _unavailable(
                "The model's server can't be reached. Ask again; the operator can check "
                "`[agent] base_url`."
            )
        case foreign.ModelUnavailableError() | foreign.ModelServerError():
            return _unavailable(f"The model's server has a problem{_status(error)}. Ask again.")
    return EngineError(NO_SENSE, code="model_failed", retryable=True)


def retry_after(error: Exception) -> float | None:
    """Seconds that the provider asked us to wait."""
    return error.retry_after if isinstance(error, foreign.ModelAPIError) else None


def facts(error: Exception) -> dict[str, object]:
    """What may be logged of `error`: kind, status and code, and no text of the provider's."""
    return {
        "kind": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "provider_code": getattr(error, "provider_error_code", None),
    }


def _status(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    return f" (HTTP {status})" if status else ""


def _refused(message: str) -> EngineError:
    return EngineError(message, code="model_refused")


def _unavailable(message: str) -> EngineError:
    return EngineError(message, code="model_unavailable", retryable=True)
