"""Setting recovery up, and taking the bot's secrets back on another machine: the steps, over the
homeserver. What is put there is `recovery`'s; the recovery key is given to the caller once."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from antiphon.adapter.matrix.crypto import cross_signing, recovery, recovery_key, secret_storage
from antiphon.adapter.matrix.crypto.backup_keeping import BackupKeeper, BackupStanding, Restored
from antiphon.adapter.matrix.crypto.key_backup import backup_key, new_backup_key
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.own_identity import OwnIdentity, Standing
from antiphon.adapter.matrix.crypto.secret_storage import (
    BACKUP,
    DEFAULT_KEY_TYPE,
    MASTER,
    SELF_SIGNING,
    USER_SIGNING,
    StorageKey,
)
from antiphon.errors import EncryptionError, RecoveryKeyError


class AccountApi(Protocol):
    """Account data and rooms; `MatrixClient` has them. Each raises HomeserverError."""

    async def account_data(self, user_id: str, event_type: str) -> dict[str, Any] | None:
        """One piece."""
        ...

    async def set_account_data(
        self, user_id: str, event_type: str, content: Mapping[str, Any]
    ) -> None:
        """Replaces one piece."""
        ...

    async def joined_rooms(self) -> tuple[str, ...]:
        """The rooms that we are in."""
        ...


class TakenBack(msgspec.Struct, frozen=True):
    """What a restore did. `device_signed`: other people's clients trust this device now; `backup`:
    there was a key for the backup; `sessions`: what came from it."""

    user_id: str
    device_id: str
    device_signed: bool
    backup: bool
    sessions: Restored


class Recovering:
    """Sets up and restores. `publish` sees to it that the device's own keys are published."""

    def __init__(
        self,
        machine: CryptoMachine,
        api: AccountApi,
        own: OwnIdentity,
        backup: BackupKeeper,
        publish: Callable[[], Awaitable[object]],
    ):
        self._machine = machine
        self._api = api
        self._own = own
        self._backup = backup
        self._publish = publish
        self.user_id = machine.me.user_id

    async def exists(self) -> bool:
        """Whether the account has a secret storage, of whomever. Raises HomeserverError."""
        return await self._default() is not None

    async def set_up(self, *, anew: bool) -> str:
        """Puts the secrets there, and gives the new recovery key. A kill before it returns leaves
        at most a storage whose key nobody knows; then `anew` makes another.

        Args:
            anew: replace a storage, and a backup that is not ours.

        Raises:
            EncryptionError: there is one already (not with `anew`), or the identity is not ours.
            HomeserverError: as the requests.
        """
        if not anew and await self.exists():
            raise EncryptionError(
                "There is a recovery key for this account already. With --new another takes its "
                "place, and the old one opens nothing any more.",
                code="recovery_exists",
            )
        await self._publish()
        standing = await self._own.settle()
        keys = await self._own.keys()
        if standing is not Standing.OURS or keys is None:
            raise EncryptionError(
                "This device is not signed by the account's identity, so there is nothing that a "
                "recovery key could keep. Was the account used with another client? Then run "
                "`antiphon matrix recovery-key --restore` with the recovery key from there.",
                code=f"identity_{standing}",
            )
        kept = await self._machine.keep_secrets_once({BACKUP: new_backup_key().private})
        if await self._backup.look() is not BackupStanding.KEPT:
            if not anew:
                raise EncryptionError(
                    "The account has a key backup that is not the bot's. With --new another takes "
                    "its place.",
                    code="backup_not_ours",
                )
            await self._backup.begin()
            await self._backup.look()
        storage = secret_storage.new_storage_key(secrets.token_hex(16), recovery_key.new_key())
        contents = recovery.to_store(storage, keys, backup_key(kept[BACKUP]), new=True)
        for name, content in contents.items():
            await self._api.set_account_data(self.user_id, name, content)
        text = recovery_key.encode_recovery_key(storage.key)
        back = await self._recovered(await self._opened(text))
        if (back.keys, back.backup) != (keys, backup_key(kept[BACKUP])):
            raise EncryptionError(
                "What the homeserver gives back of the secret storage is not what was put there. "
                "Is another client setting it up now? Run this again with --new."
            )
        return text

    async def back_up(self) -> int:
        """Puts all sessions that are owed into the backup; how many it has then."""
        while await self._backup.put_batch():
            pass
        return await self._backup.count()

    async def restore(self, typed: str) -> TakenBack:
        """Takes the secrets with the recovery key as it was `typed`, signs this device, and takes
        all sessions from the backup. Can be cut off and run again.

        Raises:
            RecoveryKeyError: mistyped, another storage's, or there is no storage.
            EncryptionError: the storage is malformed, or is not of the published identity.
            HomeserverError: as the requests.
        """
        found = await self._recovered(await self._opened(typed))
        keys = found.keys
        if keys is None:
            raise EncryptionError(
                "The secret storage does not hold the account's identity under this key. Set "
                "recovery up again in the client that has it."
            )
        published, there, _ = await self._own.published()
        if there and not cross_signing.are_published(keys, published):
            raise EncryptionError(
                "The secret storage holds another identity than the homeserver shows for this "
                "account: one of the two is old, or was replaced by somebody. Nothing was taken."
            )
        taken = {
            MASTER: keys.master.seed,
            SELF_SIGNING: keys.self_signing.seed,
            USER_SIGNING: keys.user_signing.seed,
        }
        if found.backup is not None:
            taken[BACKUP] = found.backup.private
        await self._machine.keep_secrets(taken)
        await self._publish()
        standing = await self._own.settle()
        await self._machine.accept_identity(self.user_id, keys.master.public)
        sessions = Restored()
        if found.backup is not None:
            sessions = await self._backup.restore(list(await self._api.joined_rooms()))
        me = self._machine.me
        signed = standing is Standing.OURS
        return TakenBack(me.user_id, me.device_id, signed, found.backup is not None, sessions)

    async def _default(self) -> str | None:
        content = await self._api.account_data(self.user_id, DEFAULT_KEY_TYPE)
        return secret_storage.default_key_id(content)

    async def _opened(self, typed: str) -> StorageKey:
        key_id = await self._default()
        if key_id is None:
            raise RecoveryKeyError(
                "This account has no secret storage on the homeserver, so no recovery key opens "
                "anything. Make one with `antiphon matrix recovery-key`."
            )
        description = await self._api.account_data(self.user_id, secret_storage.key_type(key_id))
        return secret_storage.open_with_recovery_key(key_id, description, typed)

    async def _recovered(self, storage: StorageKey) -> recovery.Recovered:
        contents = {
            name: await self._api.account_data(self.user_id, name) for name in recovery.SECRETS
        }
        return recovery.recover(storage, self.user_id, contents)
