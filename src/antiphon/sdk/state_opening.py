"""Which state a surface has: a control plane's where `[master] url` is set, else its own. The two
have files of their own: neither is ever taken for the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from antiphon.clock import Chance, Clock
from antiphon.db import database_url
from antiphon.sdk.prototype_state import LocalState
from antiphon.sdk.remote_http import Http
from antiphon.sdk.remote_state import RemoteState
from antiphon.sdk.state import State
from antiphon.settings import General, MasterSettings
from antiphon.telemetry import logger

STATE = "state.db"
"""The file of the local state in the state folder, where no database is named."""
CONTROL = "control.db"
"""The file of what a control plane told, and of what it has not been told."""


def is_remote(master: MasterSettings | None) -> bool:
    """Whether a control plane keeps users, chats and settings."""
    return master is not None and bool(master.url)


def state_url(state: Path, master: MasterSettings | None, database: str = "") -> str:
    """The database of a surface's state, whichever it is. `database`: of a local one, where it is
    named."""
    if is_remote(master):
        return database_url("", state, CONTROL)
    return database_url(database, state, STATE)


@asynccontextmanager
async def open_state(
    general: General,
    master: MasterSettings | None,
    *,
    surface: str,
    base: Mapping[str, Any] | None,
    clock: Clock,
    chance: Chance,
    database: str = "",
) -> AsyncIterator[State]:
    """The state of a surface, with its work beside it; closed when the block ends. Raises
    SettingsError (address, token), MasterRefusedError, and what `Database.open` raises."""
    url = state_url(general.state_path(), master, database)
    if master is None or not master.url:
        local = await LocalState.open(url, clock=clock, chance=chance, surface=surface, base=base)
        try:
            yield local
        finally:
            await local.close()
        return
    async with Http(master.url, master.token.reveal()) as http:
        remote = await RemoteState.open(
            url,
            http,
            surface=surface,
            clock=clock,
            chance=chance,
            base=base,
            roles_ttl_s=master.roles_ttl_s,
        )
        work = asyncio.create_task(remote.work())
        work.add_done_callback(_ended)
        try:
            yield remote
        finally:
            work.cancel()
            await asyncio.wait([work])
            await remote.close()
        if not work.cancelled():
            work.result()


def _ended(work: asyncio.Task[None]) -> None:
    """The work beside a state never ends by itself: that is a fault of ours, told at once."""
    if not work.cancelled() and (error := work.exception()) is not None:
        logger("sdk.master").error("control_plane_work_failed", exc_info=error)
