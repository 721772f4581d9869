"""The part of the machine that writes to single devices: secrets and verification by Olm, and new
sessions for those that have broken. Each method is one transaction of the key store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import claims, direct, unwedging
from antiphon.adapter.matrix.crypto.machine_lookups import Lookups
from antiphon.adapter.matrix.crypto.store import olm_sessions
from antiphon.adapter.matrix.crypto.values import Batch, Problem


class DeviceMessages(Lookups):
    """What `CryptoMachine` offers for single devices. Names are device ids by user."""

    async def claimed(
        self, room_id: str, wanted: Mapping[str, Sequence[str]], answer: Mapping[str, Any]
    ) -> tuple[Problem, ...]:
        """Takes in the answer of `/keys/claim` for `wanted`: makes their Olm sessions. Devices of
        which no valid key came are noted for the room, told, and claimed again after a while;
        `room_id` is empty where it is not for a room."""
        now_ms = self._clock.now_ms()
        try:
            return await self._store.write(
                lambda c: claims.take(c, self._vault, room_id, wanted, answer, now_ms)
            )
        finally:
            if not room_id:  # else it is a step of settling that room
                self.settled.changed(wanted)

    async def without_session(self, names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Those of these living devices with which there is no Olm session yet."""
        return await self._store.read(lambda c: direct.without_session(c, names))

    async def sealed(
        self, kind: str, messages: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> Batch | None:
        """Encrypts messages (user → device → content) of type `kind` by Olm, for those of the
        devices that live and have a session; None where none has."""
        return await self._store.write(
            lambda c: direct.batch(c, self._vault, self.me, kind, messages)
        )

    async def wedged(self) -> dict[str, list[str]]:
        """Devices for which a new Olm session is owed and whose keys are known."""
        if not await self._store.read(olm_sessions.wedged):
            return {}
        return await self._store.write(lambda c: unwedging.owed(c, self._clock.now_ms()))

    async def dummies(self, names: Mapping[str, Sequence[str]]) -> Batch | None:
        """An `m.dummy` for each of these whose new session was made, so that they use it."""

        def make(connection: Connection) -> Batch | None:
            empty: dict[str, Any] = {}
            messages = {user_id: dict.fromkeys(ids, empty) for user_id, ids in names.items()}
            return direct.batch(connection, self._vault, self.me, "m.dummy", messages)

        return await self._store.write(make)

    async def unwedged(self, names: Mapping[str, Sequence[str]]) -> None:
        """That was done, or can't be done now: not again within an hour."""
        try:
            await self._store.write(lambda c: unwedging.done(c, names, self._clock.now_ms()))
        finally:
            self.settled.changed(names)
