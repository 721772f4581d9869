"""A word in the room when a person writes whose identity is another than before: once for each
change, and only to those who may talk to the bot. The log and the metrics say it in any case."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.telemetry import logger

MOST_WAITING = 500
"""People who wait for their word; whoever writes again is there again."""

Say = Callable[[str, str, str], Awaitable[bool]]
"""Says a text in an encrypted room, once for a transaction id; whether it was said."""

CHANGED = (
    "The encryption identity of {user_id} is another one than I {knew} before. Perhaps it was "
    "reset; perhaps somebody else uses this account. {then} Whoever runs me can verify it with "
    "{user_id} (antiphon matrix verify)."
)
REFUSED = "Until it is verified I answer no message of this account, and give it no keys."
ANSWERED = "I go on answering, but this identity is not trusted."


class IdentityNotices:
    """One device's notices; `run` gives them until cancelled."""

    def __init__(
        self,
        machine: CryptoMachine,
        say: Say,
        allows: Callable[[str], bool],
        *,
        only_cross_signed: bool,
    ):
        self._machine = machine
        self._say = say
        self._allows = allows
        self._then = REFUSED if only_cross_signed else ANSWERED
        self._waiting: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._log = logger("matrix.crypto")

    def seen(self, user_id: str, room_id: str) -> None:
        """This person, whose identity has changed, wrote in this room."""
        if self._allows(user_id) and len(self._waiting) < MOST_WAITING:
            self._waiting[user_id] = room_id
            self._wake.set()

    async def run(self) -> None:
        """Raises TokenRevokedError, and what the key store raises."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                user_id, room_id = self._waiting.popitem()
                await self._tell(user_id, room_id)

    async def _tell(self, user_id: str, room_id: str) -> None:
        user = await self._machine.user(user_id)
        if user is None or not user.changed or user.master is None or user.told == user.master:
            return
        knew = "verified" if user.verified is not None else "knew"
        text = CHANGED.format(user_id=user_id, knew=knew, then=self._then)
        # Of the change alone, so that a kill before the next line makes it no second one.
        name = "\x00".join((room_id, user_id, user.master))
        txn_id = "i" + hashlib.sha256(name.encode()).hexdigest()[:40]
        if await self._say(room_id, text, txn_id):
            await self._machine.told_of(user_id, user.master)
            self._log.warning("identity_change_told", user=user_id, room=room_id)
