"""Which engine answers for a model's name. Engines are imported and made when first needed, so
that a model framework costs nothing where it is not used.

A run may ask for the configured default, for those that the operator lists beside it, and for
`offline`: a surface (and so whoever may set a room's settings there) can't spend the operator's key
on another model, read a file as a model, or load one into memory that nobody allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from antiphon.agent.engines import names
from antiphon.agent.engines.faults import stopping
from antiphon.agent.engines.names import ModelName
from antiphon.agent.engines.port import Engine, EngineError
from antiphon.errors import SettingsError
from antiphon.settings import AgentSettings, Secret

MakeEngine = Callable[[ModelName], Engine]

OURS = ("offline", "local")
"""Engines that are no provider: they take no key and no address."""


class Registry:
    """The engines of one agent. Made by `make_registry`."""

    def __init__(self, default: str, make: MakeEngine, models: Sequence[str] = ()):
        """`default`: the model of runs that name none; `models`: others that may be named. `make`
        gives the engine of a name: there is one for each provider, and one for each local model.
        Raises SettingsError when one of these names no model."""
        self._default = names.parse(default)
        self._models = tuple(names.parse(model, "models") for model in models)
        self._make = make
        self._engines: dict[str, Engine] = {}
        self._closed = False

    def default_model(self) -> str:
        """The model that answers where a run names none, in full: `openai:gpt-x`."""
        return str(self._default)

    def allowed(self) -> tuple[str, ...]:
        """The names that a run may ask for, the default one first."""
        return tuple(dict.fromkeys((*map(str, (self._default, *self._models)), "offline")))

    def resolve(self, model: str | None) -> tuple[Engine, str]:
        """The engine that answers for `model` (None: the default), and the model's name there.

        Raises EngineError: `unknown_model` with what is allowed, or `model_unavailable` after
        `close`; MissingExtraError where the engine's package is not installed."""
        if self._closed:
            raise stopping()
        if model is None:
            return self._engine(self._default), self._default.model
        if model.strip() not in self.allowed():
            raise EngineError(
                f"This agent has no model {model[:80]!r}. It has: {', '.join(self.allowed())}.",
                code="unknown_model",
            )
        named = names.parse(model)
        return self._engine(named), named.model

    def _engine(self, named: ModelName) -> Engine:
        key = str(named) if named.engine == "local" else named.engine
        if key not in self._engines:
            self._engines[key] = self._make(named)
        return self._engines[key]

    async def check(self) -> None:
        """Checks the default engine and warms it up, and looks at the other models. Raises
        SettingsError or MissingExtraError (one can't work as configured) or EngineError (it can't
        work now, and may later)."""
        engine, _ = self.resolve(None)
        others = dict.fromkeys(one for one in self._models if one != self._default)
        found = await asyncio.gather(
            engine.check(), *map(self._look, others), return_exceptions=True
        )
        problems = [one for one in found if one is not None]
        if problems:
            # What will never work stops the agent, whatever can't be reached just now.
            raise min(problems, key=lambda one: isinstance(one, EngineError))

    async def _look(self, named: ModelName) -> None:
        try:
            await self._engine(named).look(named.model)
        except SettingsError as error:
            reason = error.message.removeprefix("[agent] model: ")
            owner = _owner((self._default, *self._models))
            if owner and named.engine not in OURS and _family(named.engine) != _family(owner):
                reason += f" (`api_key` and `base_url` are for {owner}:… alone; other providers"
                reason += " take a key from a variable of their own, such as OPENAI_API_KEY.)"
            raise SettingsError(f"[agent] models: {named}: {reason}", code=error.code) from error
        except EngineError as error:
            raise EngineError(
                f"[agent] models: {named}: {error.message}",
                code=error.code,
                retryable=error.retryable,
            ) from error

    async def close(self) -> None:
        """Closes every engine that was made; idempotent."""
        self._closed = True
        for engine in self._engines.values():
            await engine.close()


def make_registry(settings: AgentSettings, state: Path) -> Registry:
    """The registry of an agent with these settings; `state` is its folder, for logs of child
    processes. Raises SettingsError when `model` or one of `models` names no model."""

    def make(named: ModelName) -> Engine:
        if named.engine == "offline":
            from antiphon.agent.engines.offline import OfflineEngine

            return OfflineEngine()
        if named.engine == "local":
            from antiphon.agent.engines.local import LocalEngine

            return LocalEngine(named.model, state)
        from antiphon.agent.engines.providers import ProviderEngine

        return ProviderEngine(named.engine, named.model, _settings_of(named.engine, settings))

    return Registry(settings.model, make, settings.models)


def _settings_of(provider: str, settings: AgentSettings) -> AgentSettings:
    """The settings as this provider sees them: address and key are for the first provider that is
    named, and nobody else's server is sent that key. The others use their own variables."""
    owner = _owner([names.parse(model) for model in (settings.model, *settings.models)])
    if owner is None or _family(owner) == _family(provider):
        return settings
    return msgspec.structs.replace(settings, api_key=Secret(""), base_url="")


def _owner(models: Sequence[ModelName]) -> str | None:
    """The provider that `api_key` and `base_url` are for; None where no model has one."""
    return next((model.engine for model in models if model.engine not in OURS), None)


def _family(provider: str) -> str:
    return provider.removesuffix("-chat")
