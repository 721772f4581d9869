"""Delivery: what the outbox owes a room is sent until the homeserver has it or refuses it.

A row is committed before its first attempt and repeated under its own transaction id, so that a
lost response or a killed process never doubles it.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from antiphon.adapter.matrix.cipher import Cipher
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.journal import outbox, rooms
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import EventId, RoomId, TurnId, TxnId
from antiphon.core.pacing import SendClass
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 30.0

FORGETS_AFTER_S = 20 * 3600
"""Synapse keeps transaction ids for about 24 hours (measured)."""

NOT_OURS = (403, 404)
"""Refusals that mean that we can't write in the room at all, whatever we write."""


class RoomRefusedError(Exception):
    """The homeserver will not take events of ours in this room (kicked, upgraded, too large)."""

    def __init__(self, status: int, errcode: str):
        super().__init__(f"{status} {errcode}")
        self.status = status
        self.errcode = errcode


class Delivery:
    """Sends events of answers, in priority of their class, within the homeserver's limits."""

    def __init__(
        self,
        client: MatrixClient,
        journal: Journal,
        gate: SendGate,
        metrics: Metrics,
        clock: Clock,
        watch: SyncWatch,
        cipher: Cipher,
    ):
        self._client = client
        self._journal = journal
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._watch = watch
        self._cipher = cipher
        self._steps = itertools.count(1)
        self._log = logger("matrix.delivery")

    def next_step(self) -> int:
        """The number of the next partial edit of this life of the adapter."""
        return next(self._steps)

    @property
    def seals(self) -> bool:
        """Whether encrypted rooms can be written in."""
        return self._cipher.enabled

    @property
    def gate(self) -> SendGate:
        """The process-wide budget that all sends go through."""
        return self._gate

    def entry(
        self, txn_id: TxnId, turn_id: TurnId, room_id: RoomId, part: int, kind: str, content: Any
    ) -> Entry:
        """An outbox row of this device with `content` frozen."""
        return Entry(
            txn_id=txn_id,
            turn_id=turn_id,
            room_id=room_id,
            part=part,
            kind=kind,
            content=content if isinstance(content, str) else msgspec.json.encode(content).decode(),
            device_id=self._journal.device_id,
        )

    async def deliver(self, entry: Entry, send_class: SendClass) -> EventId:
        """Sends a committed outbox row until it is accepted, and records that; returns its event.

        Waits out rate limits and outages, however long. Raises RoomRefusedError when the
        homeserver refuses it for good, and TokenRevokedError."""
        pause = 0.5
        uncertain_since: float | None = None
        while True:
            if uncertain_since is not None and (
                self._clock.monotonic() - uncertain_since > FORGETS_AFTER_S
            ):
                # The homeserver may have forgotten the transaction id: look at the room first.
                await self._watch.from_now_on()
            # Meanwhile the room may have shown it, or the turn may have been decided otherwise.
            known = await self._journal.read(lambda c: outbox.get(c, entry.txn_id))
            if known is not None and known.event_id is not None:
                return known.event_id
            if known is not None and known.state == "failed":
                raise RoomRefusedError(0, "NOT_WANTED_ANY_MORE")
            if not await self._prepared(entry, send_class, pause):
                pause = min(LONGEST_PAUSE_S, pause * 2)
                continue
            async with self._gate.slot(send_class) as slot:
                try:
                    sent = await self._attempt(entry)
                except RateLimitedError as error:
                    slot.limited(error.retry_after_ms)
                    self._metrics.rate_limited.inc()
                    continue
                except HomeserverUnreachableError as error:
                    self._metrics.sends.labels(send_class.name.lower(), "retried").inc()
                    self._log.warning("send_retried", txn=entry.txn_id, error=str(error))
                    if uncertain_since is None:
                        uncertain_since = self._clock.monotonic()
                except MatrixApiError as error:
                    raise self._refused(entry, send_class, error) from error
                else:
                    if sent is None:  # who may read has changed while it waited
                        slot.unused()
                        continue
                    slot.succeeded()
                    self._metrics.sends.labels(send_class.name.lower(), "ok").inc()
                    break
            await self._clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 2)
        crash_point("delivery.sent")
        event_id, sealed = EventId(sent[0]), sent[1]
        await self._journal.write(lambda c: outbox.sent(c, entry.txn_id, event_id, sealed=sealed))
        crash_point("delivery.recorded")
        return event_id

    async def try_partial(self, room_id: RoomId, txn_id: TxnId, content: dict[str, Any]) -> bool:
        """Sends a partial edit once, if the budget allows it now; whether it was accepted.

        A partial is never repeated: the next one carries newer text."""
        try:
            await self._prepare(room_id)
            async with self._gate.slot(SendClass.PARTIAL) as slot:
                try:
                    sent = await self._send(room_id, txn_id, content)
                except RateLimitedError as error:
                    slot.limited(error.retry_after_ms)
                    raise
                if sent is not None:
                    slot.succeeded()
                    self._metrics.sends.labels("partial", "ok").inc()
                    return True
                slot.unused()
        except RateLimitedError:
            self._metrics.rate_limited.inc()
        except HomeserverUnreachableError as error:
            self._log.info("partial_lost", room=room_id, error=str(error))
        except MatrixApiError as error:
            if error.status in NOT_OURS:
                raise RoomRefusedError(error.status, error.errcode) from error
            self._log.warning("partial_refused", room=room_id, errcode=error.errcode)
        self._metrics.sends.labels("partial", "dropped").inc()
        return False

    async def _prepared(self, entry: Entry, send_class: SendClass, pause: float) -> bool:
        """Prepares the room where that is needed, holding no place of the budget: a large room may
        take a minute, and others write meanwhile. After a failure waits, `pause` seconds where the
        homeserver does not say how long, and gives False. Raises RoomRefusedError."""
        if entry.kind == "redact":
            return True
        try:
            await self._prepare(entry.room_id)
        except RateLimitedError as error:
            self._metrics.rate_limited.inc()
            await self._clock.sleep(max(pause, error.retry_after_ms / 1000))
        except HomeserverUnreachableError as error:
            self._metrics.sends.labels(send_class.name.lower(), "retried").inc()
            self._log.warning("send_retried", txn=entry.txn_id, error=str(error))
            await self._clock.sleep(pause)
        except MatrixApiError as error:
            raise self._refused(entry, send_class, error) from error
        else:
            return True
        return False

    def _refused(
        self, entry: Entry, send_class: SendClass, error: MatrixApiError
    ) -> RoomRefusedError:
        self._metrics.sends.labels(send_class.name.lower(), "refused").inc()
        self._log.warning(
            "send_refused",
            room=entry.room_id,
            txn=entry.txn_id,
            status=error.status,
            errcode=error.errcode,
        )
        return RoomRefusedError(error.status, error.errcode)

    async def _attempt(self, entry: Entry) -> tuple[str, bool] | None:
        if entry.kind == "redact":
            return await self._client.redact(entry.room_id, entry.content, entry.txn_id), False
        return await self._send(entry.room_id, entry.txn_id, entry.body())

    async def _encrypts(self, room_id: RoomId) -> bool:
        return self.seals and await self._journal.read(lambda c: rooms.is_encrypted(c, room_id))

    async def _prepare(self, room_id: RoomId) -> None:
        if await self._encrypts(room_id):
            await self._cipher.prepare(room_id)

    async def _send(self, room_id: RoomId, txn_id: TxnId, content: Any) -> tuple[str, bool] | None:
        """One attempt: the event's id, and whether it was sealed; None where the room is to be
        prepared first. Where the room is encrypted the plaintext, which is frozen, is sealed for
        this attempt; the homeserver takes the first that it gets under the transaction id."""
        kind = "m.room.message"
        if not await self._encrypts(room_id):
            return await self._client.send(room_id, kind, txn_id, content), False
        sealed = await self._cipher.seal(room_id, kind, content)
        if sealed is None:
            return None
        return await self._client.send(room_id, sealed.type, txn_id, sealed.content), True
