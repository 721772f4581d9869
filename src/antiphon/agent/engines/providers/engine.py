"""The engine of one provider: a step is one streamed request through pydantic-ai's direct model
interface, without its agent loop. Holds one HTTP client; loads pydantic-ai when first needed.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from antiphon.agent.engines.faults import not_set_up, stopping
from antiphon.agent.engines.port import (
    Capabilities,
    EngineError,
    StepEvent,
    StepRequest,
)
from antiphon.agent.engines.providers import address, probe
from antiphon.clock import Chance, Clock, SystemChance, SystemClock
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings import AgentSettings
from antiphon.telemetry import logger

if TYPE_CHECKING:
    from antiphon.agent.engines.providers.models import Backend

OPENAI = ("openai", "openai-chat")
RETRIES = 2
"""Repetitions of a request that failed before anything of the answer had come."""
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
CONTEXT_TOKENS = 128_000
"""Taken for a model whose context window nobody knows; `[agent] history_tokens` is far less."""


class ProviderEngine:
    """Models of one provider, with the address and key from the settings."""

    def __init__(
        self,
        provider: str,
        default_model: str,
        settings: AgentSettings,
        *,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ):
        """`provider`: the part of a model's name before the colon; `default_model`, the part
        behind it, is the one that `check` tests."""
        self.name = provider
        self._default_model = default_model
        self._settings = settings
        self._clock = clock or SystemClock()
        self._chance = chance or SystemChance()
        self._loads: dict[str, asyncio.Future[Backend]] = {}
        self._backends: dict[str, Backend] = {}
        self._opening = asyncio.Lock()
        self._closed = False
        self._log = logger("agent.engine")

    def capabilities(self, model: str) -> Capabilities:
        backend = self._backends.get(model or self._default_model)
        tokens = backend.context_tokens() if backend else None
        return Capabilities(
            tools=True,
            context_tokens=tokens or CONTEXT_TOKENS,
            description=f"{self.name}:{model or self._default_model}",
        )

    async def step(self, request: StepRequest) -> AsyncIterator[StepEvent]:
        try:
            backend = await self._backend(request.model)
        except SettingsError as error:
            self._log.error("model_not_set_up", reason=error.message)
            raise not_set_up() from None
        from antiphon.agent.engines.providers import failures, stream

        for attempt in range(RETRIES + 1):
            begun = False
            try:
                async with aclosing(stream.play(backend, request, self._chance)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except failures.FOREIGN as error:
                self._ensure_open()
                failure = failures.translate(error, backend.model.model_name, begun=begun)
                wait = failures.retry_after(error)
                self._log.warning("model_request_failed", attempt=attempt, **failures.facts(error))
            except EngineError as error:
                failure, wait = error, None
            else:
                return
            wait = max(wait or 0.0, FIRST_WAIT_S * 4**attempt * (1 + self._chance.jitter()))
            if begun or not failure.retryable or attempt == RETRIES or wait > LONGEST_WAIT_S:
                # The provider's own error may quote the key: it does not go along.
                raise failure from None
            await self._clock.sleep(wait)

    async def _backend(self, model: str) -> Backend:
        self._ensure_open()
        name = model or self._default_model
        async with self._opening:
            if name not in self._backends:
                try:
                    backend = await asyncio.shield(self._load(name))
                except SettingsError:
                    self._loads.pop(name, None)
                    raise
                self._ensure_open()
                await backend.open()
                self._backends[name] = backend
        return self._backends[name]

    def _load(self, name: str) -> asyncio.Future[Backend]:
        """The model on its way, in a thread: it is awaited by the first step, or by `close`."""
        if name not in self._loads:
            loop = asyncio.get_running_loop()
            self._loads[name] = loop.run_in_executor(None, _build, self.name, name, self._settings)
        return self._loads[name]

    def _ensure_open(self) -> None:
        if self._closed:
            raise stopping()

    async def check(self) -> None:
        """Asks an OpenAI-compatible server about key and model; the framework goes on loading
        when this has returned. For other providers it loads the framework, and asks nobody."""
        try:
            await self.look(self._default_model)
        except EngineError:
            self._load(self._default_model)
            raise
        self._load(self._default_model)

    async def look(self, model: str) -> None:
        """As `check`, and leaves the framework alone where the server itself can be asked."""
        self._ensure_open()
        if self.name not in OPENAI:
            await self._backend(model)
            return
        found = address.find(self._settings)
        _look_up(self.name, model)
        await probe.ask(found, model)

    async def close(self) -> None:
        self._closed = True
        loads, self._loads = self._loads, {}
        await asyncio.gather(*loads.values(), return_exceptions=True)
        while self._backends:
            _, backend = self._backends.popitem()
            await backend.close()


def _look_up(provider: str, model: str) -> None:
    """Raises MissingExtraError when the framework is not installed; imports nothing."""
    if not all(importlib.util.find_spec(package) for package in ("pydantic_ai", "openai")):
        raise _missing(provider, model)


def _missing(provider: str, model: str) -> MissingExtraError:
    return MissingExtraError(
        f"[agent] model: {provider}:{model} needs an extra: install antiphon[models]."
    )


def _build(provider: str, model: str, settings: AgentSettings) -> Backend:
    """Imports the framework (about two seconds of computing) and makes the model."""
    try:
        from antiphon.agent.engines.providers import models, stream  # noqa: F401 - warms the import
    except ModuleNotFoundError as error:
        raise _missing(provider, model) from error
    return models.build(provider, model, settings)
