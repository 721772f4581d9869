"""What the doctor looks at: settings, state folder and the ports to the world, as one value."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from antiphon.adapter.matrix.service import JOURNAL
from antiphon.clock import Chance, Clock
from antiphon.db import database_url
from antiphon.sdk.interface import Platform
from antiphon.sdk.state_opening import state_url
from antiphon.settings import General, MasterSettings, MatrixSettings


class Patient(msgspec.Struct, frozen=True, kw_only=True):
    """One bot's settings and surroundings. `settings_file` is where they come from, if from a
    file; `platform` opens a way to the agent that keeps nothing here, and is None where the
    settings name no agent."""

    general: General
    matrix: MatrixSettings
    settings_file: Path | None
    clock: Clock
    chance: Chance
    platform: Callable[[], AbstractAsyncContextManager[Platform]] | None
    with_model: bool = True
    master: MasterSettings = MasterSettings()

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.general.state_path()

    @property
    def journal_url(self) -> str:
        """The journal's database."""
        return database_url(self.matrix.database, self.state, JOURNAL)

    @property
    def chats_url(self) -> str:
        """The sdk's database."""
        return state_url(self.state, self.master)
