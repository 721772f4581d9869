"""Makes pydantic-ai's model for a provider's name, with our address, key and HTTP client, and
tests an OpenAI-compatible one. Importing this takes about a second: only the engine does, late."""

from __future__ import annotations

import inspect
import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import httpx2
import openai
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

from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.providers import failures
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings import AgentSettings

OPENAI_URL = "https://api.openai.com/v1"
KEEPALIVE_S = 55.0
"""How long an idle connection is kept: most servers and load balancers close after 60 s."""
CHECK_TIMEOUT_S = 3.0
NO_KEY = "no-key-set"
"""What a server gets whose address is set without a key: clients insist on sending one."""


class Backend:
    """A model, ready to be asked after `open`, and what must be closed after it."""

    def __init__(
        self,
        model: Model,
        client: openai.AsyncOpenAI | None,
        owned: list[AbstractAsyncContextManager[Any]],
    ):
        self.model = model
        self._client = client
        self._owned = owned
        self._closing = AsyncExitStack()
        self._max_retries = "max_retries" not in type(model).unsupported_settings

    async def open(self) -> None:
        """Takes the connections into this event loop."""
        for owned in self._owned:
            await self._closing.enter_async_context(owned)

    def settings(self, max_tokens: int) -> dict[str, Any]:
        """The request's settings: retries are the engine's own, and nobody else's."""
        found: dict[str, Any] = {"max_tokens": max_tokens}
        if self._max_retries:
            found["max_retries"] = 0
        return found

    def context_tokens(self) -> int | None:
        """The model's context window, where it is known."""
        return self.model.profile.get("context_window")

    async def check(self) -> None:
        """Asks an OpenAI-compatible server about the model, which also opens the connection that
        the first question uses. Other providers are not asked.

        Raises SettingsError for a refused key or an unknown model, EngineError when the server
        can't be reached. A server that has no such question is taken to be fine."""
        if self._client is None:
            return
        name = self.model.model_name
        client = self._client.with_options(max_retries=0, timeout=CHECK_TIMEOUT_S)
        try:
            await client.models.retrieve(name)
        except openai.AuthenticationError as error:
            if "permission" not in error.message.lower():  # a key may lack this one right only
                raise SettingsError(failures.REFUSED_KEY) from None
        except openai.NotFoundError as error:
            if error.code == "model_not_found":
                raise SettingsError(failures.unknown_name(name)) from None
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                raise EngineError(
                    f"The model's server has a problem (HTTP {error.status_code}).",
                    code="model_unavailable",
                    retryable=True,
                ) from None
        except openai.APIError:
            raise EngineError(
                f"The model's server at {self._client.base_url.host} can't be reached. Start it, "
                "or check `[agent] base_url`.",
                code="model_unavailable",
                retryable=True,
            ) from None

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
    key = settings.api_key.reveal()
    provider: OpenAIProvider | OpenAICompatibleProvider
    if settings.base_url and settings.base_url.rstrip("/") != OPENAI_URL:
        # OPENAI_API_KEY of the environment must not reach another server.
        provider = OpenAICompatibleProvider(
            "openai-compatible",
            base_url=_url(settings),
            api_key=key or NO_KEY,
            http_client=client,
        )
    else:
        provider = OpenAIProvider(base_url=OPENAI_URL, api_key=_openai_key(key), http_client=client)
    return Backend(OpenAIChatModel(model, provider=provider), provider.client, [client])


def _openai_key(key: str) -> str:
    found = key or os.environ.get("OPENAI_API_KEY")
    if not found:
        raise SettingsError(
            "[agent] api_key: OpenAI needs a key. Set it (or ANTIPHON_AGENT__API_KEY), or set "
            "`base_url` to a server that needs none."
        )
    return found


def _url(settings: AgentSettings) -> str:
    url = settings.base_url
    if not url.startswith(("http://", "https://")):
        raise SettingsError(
            f"[agent] base_url: {url!r} is no address. Write http://HOST:PORT/v1 or https://HOST/v1."
        )
    return url


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
    return Backend(found, None, list(made))


def _arguments(kind: type[Provider[Any]], name: str, settings: AgentSettings) -> dict[str, str]:
    """Key and address for a provider's constructor; what is not set it takes from its own
    environment variables, but never a key for an address that we gave it."""
    known = inspect.signature(kind.__init__).parameters
    given = {"api_key": settings.api_key.reveal(), "base_url": settings.base_url}
    if settings.base_url and "api_key" in known:
        given["api_key"] = given["api_key"] or NO_KEY
    found = {key: value for key, value in given.items() if value}
    for key in found:
        if key not in known:
            raise SettingsError(f"[agent] {key}: the provider {name} takes none. Remove it.")
    return found


def _sentence(error: UserError) -> str:
    text = error.message.strip().split("\n")[0]
    return text if text.endswith(".") else text + "."
