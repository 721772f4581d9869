"""What commands share: the options given before the command's name, and settings read by them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from antiphon.settings import General, MasterSettings, Source

F = TypeVar("F", bound=Callable[..., Any])


class Options(NamedTuple):
    """`antiphon --config FILE`."""

    config: Path | None


def path_option(*names: str, help: str) -> Callable[[F], F]:  # noqa: A002 - click's own name
    """An option whose value is a path; `~` is the home folder."""

    def expanded(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    return click.option(
        *names, type=click.Path(path_type=Path), metavar="FILE", callback=expanded, help=help
    )


def prepare(options: Options, process: str) -> tuple[Source, General]:
    """Reads the settings file and sets up this process's log by it. Raises SettingsError."""
    from antiphon import settings, telemetry

    # Until the settings say otherwise, so that an error in them is logged like any other.
    telemetry.configure("info", "auto", process=process)
    source = settings.read(options.config, os.environ)
    general = settings.section(source, "", settings.General)
    telemetry.configure(general.log_level, general.log_format, process=process)
    return source, general


def master_of(source: Source) -> MasterSettings:
    """How a surface reaches the control plane; its `url` is empty where there is none. Raises
    SettingsError."""
    from antiphon import settings

    only = ("url", "token", "roles_ttl_s")
    return settings.section(source, "master", settings.MasterSettings, only=only)
