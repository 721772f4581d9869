"""How models are named in settings and runs: `offline`, `local`, `local:/path/x.gguf`,
`PROVIDER:NAME`. Pure."""

from __future__ import annotations

import re

import msgspec

from antiphon.errors import SettingsError

_PROVIDER = re.compile(r"^[a-z][a-z0-9-]{0,40}$")


class ModelName(msgspec.Struct, frozen=True):
    """A model's name, taken apart: the engine (`offline`, `local` or a provider) and the name
    that this engine knows it by."""

    engine: str
    model: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.model}" if self.model else self.engine


def parse(text: str, setting: str = "model") -> ModelName:
    """Reads a name in the setting `[agent] model` (or `models`). Raises SettingsError saying what
    is allowed."""
    engine, colon, model = text.strip().partition(":")
    if engine == "offline" and not colon:
        return ModelName("offline", "")
    if engine == "local" and (model or not colon):
        return ModelName("local", model)
    if engine not in ("offline", "local") and model and _PROVIDER.match(engine):
        return ModelName(engine, model)
    raise SettingsError(
        f"[agent] {setting}: {text!r} names no model. Write offline, local, "
        "local:/path/to/model.gguf, openai:NAME or PROVIDER:NAME."
    )
