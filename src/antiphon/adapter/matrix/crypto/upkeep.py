"""What is done in the background for our own account: its identity, the key backup, and looking for
keys that are missed. Nothing here is on a message's way, and nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.crypto.backup_keeping import BackupKeeper, BackupStanding
from antiphon.adapter.matrix.crypto.own_identity import OwnIdentity, Standing
from antiphon.adapter.matrix.crypto.values import NewKey
from antiphon.clock import Clock
from antiphon.errors import HomeserverError, MatrixApiError, TokenRevokedError
from antiphon.telemetry import logger

LOOK_EVERY_S = 3600.0
"""How often it is looked how identity and backup stand, though nothing tells of a change."""
ASK_EVERY_S = 3600.0
MOST_WANTED = 10_000
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 900.0

Ask = Callable[[str, str], Awaitable[None]]
"""Asks our own other devices for the key of a room's session."""


class Upkeep:
    """One device's background work; `run` does it until cancelled. `also` is done whenever it looks
    how things stand."""

    def __init__(
        self,
        own: OwnIdentity,
        backup: BackupKeeper,
        ask: Ask,
        clock: Clock,
        also: Sequence[Callable[[], Awaitable[None]]] = (),
    ):
        self._own = own
        self._backup = backup
        self._ask = ask
        self._clock = clock
        self._also = also
        self._look_at_ms = 0
        self._due = asyncio.Event()
        self._due.set()
        self._asked: dict[NewKey, float] = {}
        self._wanted: dict[NewKey, None] = {}
        self._wake: Callable[[], None] = lambda: None
        self._tell: Callable[[str, float], None] = lambda what, value: None
        self._log = logger("matrix.crypto")

    def on_keys(self, wake: Callable[[], None]) -> None:
        """`wake` is called when a key was found."""
        self._wake = wake

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        """`tell` is given what is counted: see `Cipher.on_standing`."""
        self._tell = tell

    def look_again(self) -> None:
        """Our own keys or devices have changed at the homeserver."""
        self._look_at_ms = 0
        self._due.set()

    def new_sessions(self) -> None:
        """There are sessions that the backup may lack."""
        self._due.set()

    def want(self, room_id: str, session_id: str) -> None:
        """A message of this session can't be read: it is looked for, at most once in an hour."""
        name, now = NewKey(room_id, session_id), self._clock.monotonic()
        last = self._asked.get(name)
        if not session_id or (last is not None and now - last < ASK_EVERY_S):
            return
        if len(self._asked) >= MOST_WANTED:
            self._asked = {n: at for n, at in self._asked.items() if now - at < ASK_EVERY_S}
        if len(self._asked) >= MOST_WANTED:
            return
        self._asked[name] = now
        self._wanted[name] = None
        self._due.set()

    async def run(self) -> None:
        """Works for ever; raises TokenRevokedError, and what the key store raises."""
        pause = SHORTEST_PAUSE_S
        while True:
            self._due.clear()
            try:
                await self._round()
            except TokenRevokedError:
                raise
            except HomeserverError as error:
                self._log.warning("upkeep_failed", error=error.message, again_in_s=pause)
                # Not woken by new work: that would ask a homeserver which just refused.
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
            else:
                pause = SHORTEST_PAUSE_S
                await woken_within(self._due, LOOK_EVERY_S, self._clock)

    async def _round(self) -> None:
        now_ms = self._clock.now_ms()
        if not self._look_at_ms - LOOK_EVERY_S * 1000 <= now_ms < self._look_at_ms:
            self._look_at_ms = now_ms + int(LOOK_EVERY_S * 1000)
            try:
                await self._looked()
            except HomeserverError:
                self._look_at_ms = 0
                raise
        while self._wanted:
            name = next(iter(self._wanted))
            try:
                await self._sought(name)
            except MatrixApiError as error:
                self._log.warning("key_not_sought", room=name.room_id, error=error.message)
            del self._wanted[name]
        while await self._backup.put_batch():
            pass
        self._tell("backup", self._backup.standing is BackupStanding.KEPT)

    async def _sought(self, name: NewKey) -> None:
        if await self._backup.find(name.room_id, name.session_id):
            self._log.info("key_from_backup", room=name.room_id, session=name.session_id)
            self._wake()
        else:
            await self._ask(name.room_id, name.session_id)

    async def _looked(self) -> None:
        for look in (self._own.settle, self._backup.look, *self._also):
            try:
                await look()
            except MatrixApiError as error:
                if error.errcode != "M_UNRECOGNIZED":
                    raise
                self._log.warning("homeserver_lacks", error=error.message)
        self._tell("identity", self._own.standing is Standing.OURS)
        self._tell("identity_replaced", self._own.standing is Standing.REPLACED)
