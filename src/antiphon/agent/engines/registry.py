"""Which engine answers for a model's name. Engines are imported and made when first needed, so
that a model framework costs nothing where it is not used.

A run may ask for the configured default and for `offline` only: a surface (and so whoever may set
a room's settings there) can't spend the operator's key on another model, read a file as a model,
or load a second one into memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from antiphon.agent.engines import names
from antiphon.agent.engines.faults import stopping
from antiphon.agent.engines.names import ModelName
from antiphon.agent.engines.port import Engine, EngineError
from antiphon.settings import AgentSettings

MakeEngine = Callable[[str], Engine]


class Registry:
    """The engines of one agent. Made by `make_registry`."""

    def __init__(self, default: str, make: MakeEngine):
        """`default`: the model of runs that name none; `make` gives the engine of that name
        (`offline`, `local` or a provider). Raises SettingsError when `default` names no model."""
        self._default = names.parse(default)
        self._make = make
        self._engines: dict[str, Engine] = {}
        self._closed = False

    def default_model(self) -> str:
        """The model that answers where a run names none, in full: `openai:gpt-x`."""
        return str(self._default)

    def allowed(self) -> tuple[str, ...]:
        """The names that a run may ask for."""
        return tuple(dict.fromkeys((str(self._default), "offline")))

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
        if named.engine not in self._engines:
            self._engines[named.engine] = self._make(named.engine)
        return self._engines[named.engine]

    async def check(self) -> None:
        """Checks the default engine, and warms it up. Raises SettingsError or MissingExtraError
        (it can't work as configured) or EngineError (it can't work now, and may later)."""
        engine, _ = self.resolve(None)
        await engine.check()

    async def close(self) -> None:
        """Closes every engine that was made; idempotent."""
        self._closed = True
        for engine in self._engines.values():
            await engine.close()


def make_registry(settings: AgentSettings, state: Path) -> Registry:
    """The registry of an agent with these settings; `state` is its folder, for logs of child
    processes. Raises SettingsError when `settings.model` names no model."""
    default = names.parse(settings.model)

    def make(engine: str) -> Engine:
        if engine == "offline":
            from antiphon.agent.engines.offline import OfflineEngine

            return OfflineEngine()
        if engine == "local":
            from antiphon.agent.engines.local import LocalEngine

            return LocalEngine(default.model, state)
        from antiphon.agent.engines.providers import ProviderEngine

        return ProviderEngine(engine, default.model, settings)

    return Registry(settings.model, make)
