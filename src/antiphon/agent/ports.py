"""What the service needs of others: a registry of engines."""

from __future__ import annotations

from typing import Protocol

from antiphon.agent.engines.port import Engine


class EngineRegistry(Protocol):
    """All engines of the process, by the model names of the settings."""

    def resolve(self, model: str | None) -> tuple[Engine, str]:
        """The engine of a model's full name, and the part that it understands (`openai:gpt` gives
        the engine and `gpt`); None: the default model's.

        Raises EngineError or SettingsError, with a sentence, for a model that there is not."""
        ...

    def default_model(self) -> str:
        """The full name of the model that answers where none is named."""
        ...

    def allowed(self) -> tuple[str, ...]:
        """The full names of the models that a run may ask for, the default one first."""
        ...

    async def check(self) -> None:
        """Cheap test at start that these models can work. Raises SettingsError,
        MissingExtraError or EngineError, with what to do."""
        ...

    async def close(self) -> None:
        """Ends child processes and connections; idempotent."""
        ...
