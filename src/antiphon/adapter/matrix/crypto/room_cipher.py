"""`RoomCipher`: encryption as the adapter uses it, over the machine and the homeserver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.adapter.matrix.beside import each, woken_within
from antiphon.adapter.matrix.cipher import ENCRYPTED, Sealed
from antiphon.adapter.matrix.crypto.gated_rooms import GatedRooms
from antiphon.adapter.matrix.crypto.identity_notices import IdentityNotices
from antiphon.adapter.matrix.crypto.room_facts import RoomFacts
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.crypto.upkeep import Upkeep
from antiphon.adapter.matrix.crypto.values import (
    ChangedIdentity,
    Decrypted,
    Problem,
    Unreadable,
)
from antiphon.adapter.matrix.crypto.verification_messages import Message
from antiphon.adapter.matrix.crypto.verifier import Verifier
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.errors import (
    EncryptionError,
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    TokenRevokedError,
)
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 60.0

NEVER = "io.antiphon.unreadable"
"""The type given to a message that no key will ever open: it is skipped like any unknown type."""


class RoomCipher:
    """Implements `adapter.matrix.cipher.Cipher`."""

    enabled = True

    def __init__(
        self,
        crypto: Crypto,
        facts: RoomFacts,
        upkeep: Upkeep,
        me: str,
        clock: Clock,
        *,
        only_cross_signed: bool,
    ):
        self._crypto = crypto
        self._facts = facts
        self._upkeep = upkeep
        self._me = me
        self._clock = clock
        self._only_cross_signed = only_cross_signed
        self._verifier: Verifier | None = None
        self._works: list[Callable[[], Awaitable[None]]] = []
        self._seen_changed: Callable[[str, str], None] = lambda user_id, room_id: None
        self._go_through: Callable[[SendGate], None] = lambda gate: None
        self._may_talk: Callable[[str], bool] = lambda user_id: False
        self._count: Callable[[str, float], None] = lambda what, value: None
        self._unknown: set[str] = set()
        self._changed = -1  # people whose identity has changed; not counted yet
        self._wake: Callable[[], None] = lambda: None
        self._owed = asyncio.Event()
        self._owed.set()
        self._published = asyncio.Event()
        self._log = logger("matrix.crypto")

    def on_keys(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._upkeep.on_keys(wake)

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        self._upkeep.on_standing(tell)
        self._count = tell

    def ask_who_may_talk(self, may_talk: Callable[[str], bool]) -> None:
        self._may_talk = may_talk

    def allows(self, user_id: str) -> bool:
        """Whether this person may talk to us now (`ask_who_may_talk`)."""
        return self._may_talk(user_id)

    def send_through(self, gate: SendGate) -> None:
        self._go_through(gate)

    def verify_with(self, verifier: Verifier, work: Callable[[], Awaitable[None]]) -> None:
        """Gives the verifier the messages of verifications; `work` goes on while `run` does."""
        self._verifier = verifier
        self._works.append(work)

    def tell_with(self, notices: IdentityNotices, rooms: GatedRooms) -> None:
        """Shows the notices who writes with a changed identity; `rooms` is what they and the
        verifier send through."""
        self._seen_changed = notices.seen
        self._works.append(notices.run)
        self._go_through = rooms.go_through

    async def run(self) -> None:
        async def keep_up() -> None:
            """Our own keys are published before anything signs them."""
            await self._published.wait()
            await self._upkeep.run()

        works = (self._settle, keep_up, *self._works)
        await each(lambda work: work(), works, len(works))

    async def _settle(self) -> None:
        pause = 1.0
        while True:
            await self._owed.wait()
            self._owed.clear()
            try:
                unknown = set(self._unknown)
                await self._crypto.machine.track(unknown)
                settled = await self._crypto.settle()
            except HomeserverError as error:
                if isinstance(error, TokenRevokedError):
                    raise
                self._log.warning("keys_not_settled", error=error.message, again_in_s=pause)
                await woken_within(self._owed, pause, self._clock)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._owed.set()
            else:
                pause = 1.0
                self._published.set()
                self._tell(settled.problems, settled.changed)
                if settled.changed or self._changed:
                    await self._count_changed()
                if unknown:
                    self._unknown -= unknown
                    if await self._crypto.machine.looked_up(unknown):
                        self._wake()  # else their homeserver is away: they are waited for

    async def received(self, response: SyncResponse) -> None:
        self._facts.note(response)
        got = await self._crypto.received(
            response.to_device,
            response.device_lists_changed,
            response.device_lists_left,
            response.one_time_key_counts,
            response.unused_fallback_key_types,
        )
        self._tell(got.problems, ())
        if self._verifier is not None:
            self._verifier.to_device(got.messages)
        if got.keys or got.withheld:
            self._wake()
        if got.keys:
            self._upkeep.new_sessions()
        if self._me in response.device_lists_changed:
            self._upkeep.look_again()
        self._owed.set()

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        sealed = [event for event in events if self._is_for_us(event)]
        if not sealed:
            return self._noted(room_id, tuple(events))
        found = await self._crypto.decrypt_all(
            room_id, [msgspec.to_builtins(event) | {"room_id": room_id} for event in sealed]
        )
        opened = {
            event.event_id: self._opened(room_id, event, result)
            for event, result in zip(sealed, found, strict=True)
        }
        return self._noted(room_id, tuple(opened.get(event.event_id, event) for event in events))

    async def prepare(self, room_id: RoomId) -> None:
        facts = await self._facts.of(room_id)
        try:
            ready = await self._crypto.ready(room_id, facts.readers, facts.settings)
        except MatrixApiError as error:
            # Of keys, not of the room: it says nothing about whether we may write there.
            raise HomeserverUnreachableError(
                f"The keys of the room can't be given to its members now: {error.message}"
            ) from error
        self._tell(ready.problems, ready.changed)
        if ready.changed:
            await self._count_changed()
        if ready.rotated:
            self._upkeep.new_sessions()

    async def seal(
        self, room_id: RoomId, event_type: str, content: Mapping[str, Any]
    ) -> Sealed | None:
        facts = self._facts.known(room_id)
        if facts is None or not self._crypto.is_ready(room_id, facts.readers, facts.settings):
            return None
        try:
            return Sealed(ENCRYPTED, await self._crypto.encrypt(room_id, event_type, content))
        except EncryptionError:  # its session is spent, or was replaced in between
            return None

    def _noted(self, room_id: RoomId, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Shows them to the verifications, which take what is theirs."""
        if self._verifier is not None:
            for event in events:
                if event.state_key is None and not event.redacted:
                    self._verifier.in_room(
                        Message(
                            event.type,
                            event.sender,
                            event.content,
                            room_id,
                            event.event_id,
                            sent_ms=event.origin_server_ts,
                        )
                    )
        return events

    async def _count_changed(self) -> None:
        self._changed = len(await self._crypto.machine.changed_identities())
        self._count("identities_changed", self._changed)

    def _tell(self, problems: Sequence[Problem], changed: Sequence[ChangedIdentity]) -> None:
        for problem in problems:
            self._log.warning(
                "key_problem",
                code=problem.code,
                detail=problem.detail,
                user=problem.user_id or None,
                device=problem.device_id or None,
            )
        for identity in changed:
            self._log.warning(
                "identity_changed",
                user=identity.user_id,
                hint="ask them by another way, and verify: antiphon matrix verify",
            )

    def _is_for_us(self, event: Event) -> bool:
        """Not our own: their marks are readable, and nothing else of them is needed."""
        return event.type == ENCRYPTED and event.sender != self._me and bool(event.content)

    def _opened(self, room_id: RoomId, event: Event, result: Decrypted | Unreadable) -> Event:
        if isinstance(result, Unreadable):
            self._log.warning(
                "unreadable",
                room=room_id,
                event_id=event.event_id,
                reason=result.reason,
                code=result.code or None,
                detail=result.detail or None,
                session=result.session_id or None,
            )
            if result.may_pass:
                self._upkeep.want(room_id, result.session_id)
            return event if result.may_pass else msgspec.structs.replace(event, type=NEVER)
        if result.trust == "changed-identity":
            self._seen_changed(event.sender, room_id)
        if self._only_cross_signed and result.trust not in ("own", "cross-signed"):
            if not result.looked_up:
                # Perhaps its owner signed it: a debt until that is known, not a message to skip.
                self._unknown.add(event.sender)
                self._owed.set()
                return event
            self._log.warning(
                "sender_not_trusted",
                room=room_id,
                event_id=event.event_id,
                trust=result.trust,
                hint="only devices that their owner has verified are listened to "
                "([matrix] only_cross_signed)",
            )
            return msgspec.structs.replace(event, type=NEVER)
        return msgspec.structs.replace(event, type=result.type, content=result.content, sealed=True)
