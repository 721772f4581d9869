"""A patient for tests of the doctor: settings over a fake homeserver, a state folder and a fake
platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.clock import Clock, SystemChance, SystemClock
from antiphon.sdk.interface import Platform
from antiphon.settings import General, MasterSettings, MatrixSettings, Secret


def patient(
    state: Path,
    *,
    homeserver: str = "http://127.0.0.1:9",
    platform: Platform | None = None,
    settings_file: Path | None = None,
    clock: Clock | None = None,
    with_model: bool = True,
    master: MasterSettings | None = None,
    **matrix: Any,
) -> Patient:
    """A bot that is set up well; `matrix` changes its settings. Without `platform` the settings
    name no agent."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Platform]:
        assert platform is not None
        yield platform

    settings: dict[str, Any] = {
        "homeserver": homeserver,
        "user": "@bot:fake.localhost",
        "password": Secret("password"),
        "allow": ("@*:fake.localhost",),
    }
    return Patient(
        general=General(state_dir=str(state)),
        matrix=MatrixSettings(**settings | matrix),
        settings_file=settings_file,
        clock=clock or SystemClock(),
        chance=SystemChance(),
        platform=opened if platform is not None else None,
        with_model=with_model,
        master=master or MasterSettings(),
    )
