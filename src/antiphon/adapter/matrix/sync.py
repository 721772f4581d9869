"""The sync loop: reads, journals, hands on. Nothing is acknowledged before it is committed, and
no response can stop it: what is malformed is skipped and reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.digest import Batch, digest
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import inbound
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.telemetry import logger

POLL_MS = 30_000
LONGEST_PAUSE_S = 30.0
MOST_CATCH_UPS = 1_000

_TIMELINE_TYPES = [
    "m.room.message",
    "m.room.encrypted",
    "m.room.member",
    "m.room.encryption",
    "m.room.redaction",
    "m.room.tombstone",
    "m.room.canonical_alias",
    "m.key.verification.*",
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
                    "types": [
                        "m.room.encryption",
                        "m.room.member",
                        "m.room.tombstone",
                        "m.room.canonical_alias",
                    ],
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


class Looks(Protocol):
    """Sees to it that what is journalled is decided by what applies now."""

    async def look(
        self,
        asked: Iterable[tuple[RoomId, UserId]] = (),
        claims: Mapping[RoomId, str] | None = None,
    ) -> None:
        """Before it is journalled: who has said something where, and what rooms call themselves."""
        ...


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
        watch: SyncWatch,
        committed: Callable[[Committed], Awaitable[None]],
        cipher: Cipher,
        rules: Looks,
    ):
        self._me = me
        self._client = client
        self._journal = journal
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._watch = watch
        self._committed = committed
        self._cipher = cipher
        self._rules = rules
        self._first_filter = sync_filter(1)
        self._filter = sync_filter(50)
        self._log = logger("matrix.sync")

    async def catch_up(self) -> None:
        """Reads until a response brings nothing: only then is it known what was said, and what of
        ours stands in the rooms (measured: a first or repeated answer can come from a cache)."""
        for _ in range(MOST_CATCH_UPS):
            if await self._once(0):
                return
        self._log.warning("catch_up_given_up", responses=MOST_CATCH_UPS)

    async def step(self, timeout_ms: int) -> bool:
        """One sync, which waits up to `timeout_ms` for news; whether it brought none. For who
        must know when there is nothing more; not beside `run`."""
        return await self._once(timeout_ms)

    async def run(self) -> None:
        """Syncs until cancelled.

        Raises TokenRevokedError, and what the database raises. Everything that may pass (an
        outage, a limit, a body that is none) is waited out with a growing pause."""
        while True:
            await self._once(POLL_MS)

    async def _once(self, timeout_ms: int) -> bool:
        """One sync, journalled and handed on; whether it brought nothing new."""
        since = await self._journal.read(inbound.cursor)
        number, began = self._watch.begin(), self._clock.monotonic()
        response = await self._asked(since, timeout_ms)
        await self._commit(response, since)
        self._watch.committed(number)
        at_once = timeout_ms > 0 and self._clock.monotonic() - began < 1.0
        if response.next_batch == since and (at_once or not response.empty):
            # A broken server or cache that repeats itself must not make a hot loop.
            await self._clock.sleep(1.0)
        return response.empty and since is not None

    async def _asked(self, since: str | None, timeout_ms: int) -> SyncResponse:
        """The response, however long the homeserver is away."""
        pause = 0.5
        while True:
            try:
                return await self._client.sync(
                    since,
                    filter=self._filter if since is not None else self._first_filter,
                    timeout_ms=timeout_ms,
                )
            except RateLimitedError as error:
                self._metrics.syncs.labels("rate_limited").inc()
                await self._clock.sleep(error.retry_after_ms / 1000)
            except (HomeserverUnreachableError, MatrixApiError) as error:
                self._metrics.syncs.labels("failed").inc()
                self._log.warning("sync_failed", error=error.message, again_in_s=pause)
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)

    async def _commit(self, response: SyncResponse, since: str | None) -> None:
        for problem in response.problems:
            self._metrics.problems.inc()
            self._log.warning(
                "malformed_event",
                room=problem.room_id,
                event_id=problem.event_id,
                reason=problem.reason,
            )
        crash_point("sync.received")
        # In this order: what is for the device is gone at the homeserver once the cursor moves,
        # and may hold the keys of what was said.
        await self._cipher.received(response)
        batch = await self._decrypted(digest(response, since, self._me))
        await self._rules.look(
            ((news.room_id, UserId(e.sender)) for news in batch.rooms for e in news.events),
            {news.room_id: news.alias for news in batch.rooms if news.alias},
        )
        committed = await self._journal.write(
            lambda c: inbound.commit_batch(c, batch, self._intake, self._clock.now_ms())
        )
        crash_point("sync.committed")
        self._metrics.syncs.labels("ok").inc()
        self._metrics.synced(self._clock.now_ms() / 1000)
        self._metrics.events.labels("turn").inc(len(committed.queued))
        for room_id, reason in committed.poisoned:
            self._metrics.problems.inc()
            self._log.error("room_news_left_out", room=room_id, reason=reason)
        for skip in committed.skipped:
            self._metrics.events.labels("skipped").inc()
            log = self._log.debug if skip.expected else self._log.warning
            log("event_skipped", room=skip.room_id, event_id=skip.event_id, reason=skip.reason)
        await self._committed(committed)
        crash_point("sync.handed_on")

    async def _decrypted(self, batch: Batch) -> Batch:
        rooms = [
            msgspec.structs.replace(
                news, events=await self._cipher.readable(news.room_id, news.events)
            )
            for news in batch.rooms
        ]
        return msgspec.structs.replace(batch, rooms=tuple(rooms))
