"""Removes what is old enough, by the settings of retention, at the start and then every hour."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from antiphon import telemetry
from antiphon.clock import Clock
from antiphon.db import Database
from antiphon.errors import DatabaseError
from antiphon.records.retention import Horizon, prune
from antiphon.settings import MasterSettings

DAY_MS: Final = 86_400_000
EVERY_S: Final = 3_600.0
ERASED_DAYS: Final = 90
"""Days for which surfaces are told that a person was erased, by their id."""


def horizon(settings: MasterSettings, now_ms: int) -> Horizon:
    """Before which times rows may go; 0 days: none."""

    def before(days: int) -> int | None:
        return now_ms - days * DAY_MS if days else None

    return Horizon(
        usage_ms=before(settings.keep_usage_days),
        audit_ms=before(settings.keep_audit_days),
        requests_ms=before(settings.keep_requests_days),
        erasures_ms=before(ERASED_DAYS),
    )


async def keep_up(database: Database, settings: MasterSettings, clock: Clock) -> None:
    """Never returns; a database that fails is tried again an hour later."""
    log = telemetry.logger("master.upkeep")
    while True:
        limits = horizon(settings, clock.now_ms())
        try:
            gone = await database.write(partial(prune, horizon=limits))
        except DatabaseError as error:
            log.warning("old rows stay for now", error=error.message)
        else:
            removed = msgspec.structs.asdict(gone)
            if any(removed.values()):
                log.info("old rows removed", **removed)
        await clock.sleep(EVERY_S)
