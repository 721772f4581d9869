"""Keeping the key backup on the homeserver up, and looking into it. Keys go only into a backup that
is ours: its private key is here, or our own master key has signed it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.crypto import key_backup
from antiphon.adapter.matrix.crypto.key_backup import BackupKey, Trust
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.own_identity import OwnIdentity
from antiphon.adapter.matrix.crypto.room_key import RoomKey
from antiphon.adapter.matrix.crypto.secret_storage import BACKUP
from antiphon.adapter.matrix.transport.key_backup import WRONG_VERSION
from antiphon.adapter.matrix.transport.values import KeyBackupState, KeyBackupVersion
from antiphon.crash import crash_point
from antiphon.errors import EncryptionError, MatrixApiError
from antiphon.telemetry import logger

VERSION = "io.antiphon.backup_version"
"""The name in the store of the version that the sessions were put into."""
BATCH = 100
TAKEN_AT_ONCE = 200


class BackupApi(Protocol):
    """The requests that it takes; `MatrixClient.key_backup` does them. Each raises
    HomeserverError."""

    async def version(self, version: str | None = None) -> KeyBackupVersion | None:
        """The newest backup."""
        ...

    async def create_version(self, algorithm: str, auth_data: Mapping[str, Any]) -> str:
        """Begins another."""
        ...

    async def put(
        self, version: str, rooms: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> KeyBackupState:
        """Puts keys into it."""
        ...

    async def all(self, version: str) -> dict[str, dict[str, dict[str, Any]]]:
        """All keys."""
        ...

    async def room(self, version: str, room_id: str) -> dict[str, dict[str, Any]]:
        """A room's keys."""
        ...

    async def session(self, version: str, room_id: str, session_id: str) -> dict[str, Any] | None:
        """One key."""
        ...


class BackupStanding(StrEnum):
    """How the backup stands."""

    UNKNOWN = "unknown"  # not looked at yet
    NONE = "none"  # recovery is not set up
    KEPT = "kept"  # it is ours, and kept up
    FOREIGN = "foreign"  # there is one that is not ours: nothing is put there


class Restored(msgspec.Struct, frozen=True):
    """How many sessions a backup had, how many of them were new here, and how many could not be
    opened."""

    total: int = 0
    new: int = 0
    failed: int = 0


class BackupKeeper:
    """Keeps the backup up. `standing` is what the last `look` saw."""

    def __init__(self, machine: CryptoMachine, api: BackupApi, own: OwnIdentity):
        self._machine = machine
        self._api = api
        self._own = own
        self._now: KeyBackupVersion | None = None
        self.standing = BackupStanding.UNKNOWN
        self._log = logger("matrix.backup_of_keys")

    async def look(self) -> BackupStanding:
        """Looks which backup there is, and begins one anew where ours was deleted. Raises
        HomeserverError."""
        before = self.standing
        self.standing, self._now = await self._looked()
        if self.standing is not before and self.standing is not BackupStanding.UNKNOWN:
            if self.standing is BackupStanding.FOREIGN:
                self._log.warning(
                    "backup_not_ours",
                    hint="the key backup on the homeserver is neither of our key nor signed by our "
                    "identity: nothing is put there. `antiphon matrix recovery-key --new` begins "
                    "another",
                )
            elif self._now is not None:
                self._log.info("backup_kept", version=self._now.version, keys=self._now.count)
        return self.standing

    async def begin(self) -> None:
        """Begins a backup under the key in the store, which takes the place of any other."""
        held = await self._held()
        keys = await self._own.keys()
        if held is None:
            raise EncryptionError("There is no key for a backup in the store.")
        me, master = self._machine.me, keys.master if keys is not None else None
        body = await self._machine.signed_with(
            lambda sign: key_backup.version_body(held, me.user_id, me.device_id, sign, master)
        )
        version = await self._api.create_version(body["algorithm"], body["auth_data"])
        crash_point("identity.backup_begun")
        self._log.info("backup_begun", version=version)

    async def put_batch(self) -> bool:
        """Puts the next sessions that are owed there; whether there may be more. Raises
        HomeserverError."""
        version = self._now
        if self.standing is not BackupStanding.KEPT or version is None:
            return False
        public = key_backup.public_key_of(_raw(version))
        owed = await self._machine.to_back_up(BATCH)
        if not owed or public is None:
            return False
        rooms: dict[str, dict[str, dict[str, Any]]] = {}
        for one in owed:
            room = rooms.setdefault(one.key.room_id, {})
            if one.verified or one.key.session_id not in room:
                room[one.key.session_id] = key_backup.encrypt_room_key(
                    public, one.key, is_verified=one.verified
                )
        try:
            await self._api.put(version.version, rooms)
        except MatrixApiError as error:
            if error.errcode not in (WRONG_VERSION, "M_NOT_FOUND"):
                raise
            self._log.warning("backup_changed", version=version.version)
            return await self.look() is BackupStanding.KEPT
        crash_point("identity.backed_up")
        await self._machine.backed_up([one.key for one in owed])
        return True

    async def count(self) -> int:
        """How many sessions the backup has. Raises HomeserverError."""
        version = await self._api.version()
        return 0 if version is None else version.count

    async def find(self, room_id: str, session_id: str) -> bool:
        """Looks for one session there; whether it was, and is new. Raises HomeserverError."""
        held = await self._held()
        version = self._now
        if held is None or version is None or not self._opens(held, version):
            return False
        data = await self._api.session(version.version, room_id, session_id)
        if data is None:
            return False
        try:
            key = key_backup.decrypt_room_key(held, room_id, session_id, data)
        except EncryptionError as error:
            self._log.warning("backup_key_refused", room=room_id, error=error.message)
            return False
        return bool(await self._machine.restore([key], backed_up=True))

    async def restore(self, room_ids: list[str]) -> Restored:
        """Takes all that is there. `room_ids` are asked for one by one where it is too large to be
        read at once. Raises HomeserverError."""
        held, version = await self._held(), await self._api.version()
        if held is None or version is None or not self._opens(held, version):
            return Restored()
        try:
            rooms = await self._api.all(version.version)
        except MatrixApiError as error:
            if error.errcode != "M_TOO_LARGE":
                raise
            rooms = {name: await self._api.room(version.version, name) for name in room_ids}
        keys: list[RoomKey] = []
        failed = 0
        for room_id, sessions in rooms.items():
            for session_id, data in sessions.items():
                try:
                    keys.append(key_backup.decrypt_room_key(held, room_id, session_id, data))
                except EncryptionError:
                    failed += 1
        new = 0
        for start in range(0, len(keys), TAKEN_AT_ONCE):
            piece = keys[start : start + TAKEN_AT_ONCE]
            new += len(await self._machine.restore(piece, backed_up=True))
        await self._machine.keep_secret(VERSION, version.version.encode())
        return Restored(len(keys) + failed, new, failed)

    async def _looked(self) -> tuple[BackupStanding, KeyBackupVersion | None]:
        held = await self._held()
        version = await self._api.version()
        if version is None and held is not None:
            if await self._machine.secret(VERSION) is not None:
                self._log.warning("backup_deleted", hint="it is begun anew")
            await self.begin()
            version = await self._api.version()
        if version is None:
            return BackupStanding.NONE, None
        keys = await self._own.keys()
        trust = key_backup.judge_version(
            _raw(version),
            self._machine.me.user_id,
            held=held,
            own_master=keys.master.public if keys is not None else None,
        )
        if trust not in (Trust.OWN_KEY, Trust.MASTER):
            return BackupStanding.FOREIGN, None
        known = await self._machine.secret(VERSION)
        if known is None or known.decode() != version.version:
            await self._machine.new_backup()
            await self._machine.keep_secret(VERSION, version.version.encode())
        return BackupStanding.KEPT, version

    async def _held(self) -> BackupKey | None:
        private = await self._machine.secret(BACKUP)
        return None if private is None else key_backup.backup_key(private)

    @staticmethod
    def _opens(held: BackupKey, version: KeyBackupVersion) -> bool:
        return key_backup.public_key_of(_raw(version)) == held.public


def _raw(version: KeyBackupVersion) -> dict[str, Any]:
    return {"algorithm": version.algorithm, "auth_data": version.auth_data}
