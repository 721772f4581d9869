"""Whether the packages of the control plane are installed."""

from __future__ import annotations

from importlib.util import find_spec

from antiphon.errors import MissingExtraError


def needed() -> None:
    """Raises MissingExtraError where they are not."""
    if not (find_spec("fastapi") and find_spec("uvicorn")):
        raise MissingExtraError("The control plane needs an extra: install antiphon[master].")
