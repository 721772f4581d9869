"""Makes pydantic-ai's model for a provider's name, with our address, key and HTTP client.
Importing this takes two seconds: only the engine does, late and in a thread."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import httpx2
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import (
    Model,
    create_async_httpx2_client,
    infer_model,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from antiphon.agent.engines.providers import address
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings import AgentSettings

KEEPALIVE_S = 55.0
"""How long an idle connection is kept: most servers and load balancers close after 60 s."""


class Backend:
    """A model, ready to be asked after `open`, and what must be closed after it."""

    def __init__(
        self,
        model: Model,
        owned: AbstractAsyncContextManager[Any],
    ):
        self.model = model
        self._owned = owned
        self._closing = AsyncExitStack()
        self._max_retries = "max_retries" not in type(model).unsupported_settings

    async def open(self) -> None:
        """Takes the connections into this event loop."""
        await self._closing.enter_async_context(self._owned)

    def settings(self, max_tokens: int) -> dict[str, Any]:
        """The request's settings: retries are the engine's own, and nobody else's."""
        found: dict[str, Any] = {"max_tokens": max_tokens}
        if self._max_retries:
            found["max_retries"] = 0
        return found

    def context_tokens(self) -> int | None:
        """The model's context window, where it is known."""
        return self.model.profile.get("context_window")

    async def close(self) -> None:
        """Closes the connections."""
        await self._closing.aclose()


def build(provider: str, model: str, settings: AgentSettings) -> Backend:
    """The model `provider:model`. Slow (imports, certificates): call it in a thread.

    Raises SettingsError (unknown provider, missing key or address) and MissingExtraError."""
    try:
        if provider in ("openai", "openai-chat"):
            return _openai(model, settings)
        return _other(provider, model, settings)
    except UserError as error:
        raise SettingsError(
            f"[agent] model: {provider}:{model} can't be used: {_sentence(error)} "
            "Set `[agent] api_key` where a key is missing."
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            f"[agent] model: {provider}:{model} needs a package: install antiphon[models-all], or "
            f"pydantic-ai-slim[{provider}]."
        ) from error


def _openai(model: str, settings: AgentSettings) -> Backend:
    client = create_async_httpx2_client(
        limits=httpx2.Limits(
            max_connections=1_000, max_keepalive_connections=100, keepalive_expiry=KEEPALIVE_S
        )
    )
    found = address.find(settings)
    kind = OpenAIProvider if found.is_openai else _compatible
    provider = kind(base_url=found.url, api_key=found.key.reveal(), http_client=client)
    return Backend(OpenAIChatModel(model, provider=provider), client)


def _compatible(**arguments: Any) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider("openai-compatible", **arguments)


def _other(name: str, model: str, settings: AgentSettings) -> Backend:
    made: list[Provider[Any]] = []

    def make(provider: str) -> Provider[Any]:
        try:
            kind = infer_provider_class(provider)
        except ValueError:
            raise SettingsError(
                f"[agent] model: there is no provider {provider!r}. Write openai:NAME, "
                "anthropic:NAME, google:NAME, mistral:NAME or another that pydantic-ai knows."
            ) from None
        made.append(kind(**_arguments(kind, provider, settings)))
        return made[0]

    found = infer_model(f"{name}:{model}", provider_factory=make)
    return Backend(found, made[0])


def _arguments(kind: type[Provider[Any]], name: str, settings: AgentSettings) -> dict[str, str]:
    """Key and address for a provider's constructor; what is not set it takes from its own
    environment variables, but never a key for an address that we gave it."""
    known = inspect.signature(kind.__init__).parameters
    given = {"api_key": settings.api_key.reveal(), "base_url": settings.base_url}
    if settings.base_url and "api_key" in known:
        given["api_key"] = given["api_key"] or address.NO_KEY
    found = {key: value for key, value in given.items() if value}
    for key in found:
        if key not in known:
            raise SettingsError(f"[agent] {key}: the provider {name} takes none. Remove it.")
    return found


def _sentence(error: UserError) -> str:
    text = error.message.strip().split("\n")[0]
    return text if text.endswith(".") else text + "."
