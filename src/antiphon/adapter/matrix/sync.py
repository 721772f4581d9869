"""The sync loop: reads, journals, hands on. Nothing is acknowledged before it is committed, and
no response can stop it: what is malformed is skipped and reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from antiphon.adapter.matrix.digest import digest
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import inbound
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.clock import Clock
from antiphon.core.ids import UserId
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.telemetry import logger

POLL_MS = 30_000
LONGEST_PAUSE_S = 30.0

_TIMELINE_TYPES = [
    "m.room.message",
    "m.room.encrypted",
    "m.room.member",
    "m.room.encryption",
    "m.room.redaction",
    "m.room.tombstone",
]


def sync_filter(limit: int) -> str:
    """The filter of our syncs: what we act on and no more, members lazily (measured: an initial
    sync of 300 rooms falls from 3.0 MB to 0.48 MB). `limit`: most timeline events per room."""
    return msgspec.json.encode(
        {
            "presence": {"types": []},
            "account_data": {"types": []},
            "room": {
                "ephemeral": {"types": []},
                "account_data": {"types": []},
                "state": {
                    "types": ["m.room.encryption", "m.room.member", "m.room.tombstone"],
                    "lazy_load_members": True,
                },
                "timeline": {
                    "types": _TIMELINE_TYPES,
                    "limit": limit,
                    "lazy_load_members": True,
                },
            },
        }
    ).decode()


class SyncLoop:
    """Reads /sync for ever into the journal. `committed` is told of every batch, in order."""

    def __init__(
        self,
        me: UserId,
        client: MatrixClient,
        journal: Journal,
        intake: Intake,
        metrics: Metrics,
        clock: Clock,
        committed: Callable[[Committed], Awaitable[None]],
    ):
        self._me = me
        self._client = client
        self._journal = journal
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._committed = committed
        self._first_filter = sync_filter(1)
        self._filter = sync_filter(50)
        self._log = logger("matrix.sync")

    async def run(self, ready: Callable[[], None]) -> None:
        """Syncs until cancelled; calls `ready` after the first committed batch.

        Raises TokenRevokedError, and what the database raises. Everything that may pass (an
        outage, a limit, a body that is none) is waited out with a growing pause."""
        since = await self._journal.read(inbound.cursor)
        first = True
        pause = 0.5
        while True:
            try:
                response = await self._client.sync(
                    since,
                    filter=self._filter if since is not None else self._first_filter,
                    timeout_ms=0 if first else POLL_MS,
                )
            except RateLimitedError as error:
                self._metrics.syncs.labels("rate_limited").inc()
                await self._clock.sleep(error.retry_after_ms / 1000)
                continue
            except (HomeserverUnreachableError, MatrixApiError) as error:
                self._metrics.syncs.labels("failed").inc()
                self._log.warning("sync_failed", error=error.message, again_in_s=pause)
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                continue
            pause = 0.5
            await self._commit(response, since)
            since = response.next_batch
            if first:
                first = False
                ready()

    async def _commit(self, response: SyncResponse, since: str | None) -> None:
        for problem in response.problems:
            self._metrics.problems.inc()
            self._log.warning(
                "malformed_event",
                room=problem.room_id,
                event_id=problem.event_id,
                reason=problem.reason,
            )
        batch = digest(response, since, self._me)
        crash_point("sync.received")
        committed = await self._journal.write(
            lambda c: inbound.commit_batch(c, batch, self._intake, self._clock.now_ms())
        )
        crash_point("sync.committed")
        self._metrics.syncs.labels("ok").inc()
        self._metrics.synced(self._clock.now_ms() / 1000)
        self._metrics.events.labels("turn").inc(len(committed.turns))
        for skip in committed.skipped:
            self._metrics.events.labels("skipped").inc()
            log = self._log.debug if skip.expected else self._log.warning
            log("event_skipped", room=skip.room_id, event_id=skip.event_id, reason=skip.reason)
        await self._committed(committed)
        crash_point("sync.handed_on")
