"""A way to the agent that keeps nothing here: the platform's own state lies in a temporary folder
while it is open, so that the real one stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from tempfile import TemporaryDirectory

import msgspec

from antiphon.adapter.matrix.app import SURFACE
from antiphon.clock import Chance, Clock
from antiphon.errors import StateError
from antiphon.sdk.interface import Platform
from antiphon.sdk.real import open_platform
from antiphon.settings import AgentSettings, General

ANSWER_S = 30.0


def opener(
    general: General, agent: AgentSettings, clock: Clock, chance: Chance
) -> Callable[[], AbstractAsyncContextManager[Platform]]:
    """Opens the platform with the agent that `agent` names, each time it is called. Entering
    raises what `open_platform` raises."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Platform]:
        try:
            folder = TemporaryDirectory(prefix="antiphon-doctor-")
        except OSError as error:
            raise StateError(
                f"Can't make a temporary folder: {error.strerror}. Set TMPDIR to one with room."
            ) from error
        with folder as name:
            elsewhere = msgspec.structs.replace(general, state_dir=name)
            async with open_platform(
                elsewhere,
                agent,
                surface=SURFACE,
                answer_timeout_s=ANSWER_S,
                clock=clock,
                chance=chance,
            ) as platform:
                yield platform

    return opened
