"""What the commands of the control plane share: its packages and its settings."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from antiphon.cli.options import Options, prepare
from antiphon.errors import MissingExtraError

if TYPE_CHECKING:
    from antiphon.settings import General, MasterSettings


def needed() -> None:
    """Raises MissingExtraError where the packages that serving needs are not installed."""
    if not (find_spec("fastapi") and find_spec("uvicorn")):
        raise MissingExtraError("The control plane needs an extra: install antiphon[master].")


def master_settings(options: Options) -> tuple[General, MasterSettings]:
    """The settings of a short command, which logs warnings alone."""
    source, general = prepare(options, "master")

    from antiphon import telemetry
    from antiphon.settings import MasterSettings, section

    telemetry.configure("warning", general.log_format, process="master")
    return general, section(source, "master", MasterSettings)
