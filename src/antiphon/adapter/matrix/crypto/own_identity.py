"""The bot's own identity: cross-signing keys made once, published, and this device signed by them.

The keys are in the store before the homeserver hears of them, so a kill at any step is followed by
the same keys. An identity that is not ours is never overwritten: only a person may decide that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from antiphon.adapter.matrix.crypto import cross_signing, identity
from antiphon.adapter.matrix.crypto.cross_signing import CrossSigningKeys
from antiphon.adapter.matrix.crypto.identity import Identity
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.secret_storage import MASTER, SELF_SIGNING, USER_SIGNING
from antiphon.adapter.matrix.transport.values import PasswordAuth, UserAuth
from antiphon.crash import crash_point
from antiphon.errors import HomeserverUnreachableError
from antiphon.settings import Secret
from antiphon.telemetry import logger

TIMEOUT_MS = 10_000
RESTORE = (
    "run `antiphon matrix recovery-key --restore` with the account's recovery key, while the "
    "adapter is stopped; until then this device is not signed, and some clients give it no keys"
)


class IdentityApi(Protocol):
    """The requests that it takes; `MatrixClient.keys` does them. Each raises HomeserverError."""

    async def query_keys(self, user_ids: Sequence[str], timeout_ms: int) -> Mapping[str, Any]:
        """The answer of `/keys/query`."""
        ...

    async def upload_signing_keys(
        self, keys: Mapping[str, Any], auth: PasswordAuth | None = None
    ) -> UserAuth | None:
        """Publishes cross-signing keys; how to prove who asks, where that is wanted."""
        ...

    async def upload_signatures(
        self, signatures: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> Mapping[str, Mapping[str, Any]]:
        """Publishes signatures; those that were not taken."""
        ...


class Standing(StrEnum):
    """How our identity stands."""

    UNKNOWN = "unknown"  # not looked at yet
    OURS = "ours"  # published, and this device is signed by it
    ELSEWHERE = "elsewhere"  # there is one, and its keys are not here
    REPLACED = "replaced"  # ours was replaced by somebody
    PENDING = "pending"  # the homeserver wants to see first who asks, or refused a signature


class OwnIdentity:
    """Keeps the own identity as it should be. `standing` is what the last `settle` saw."""

    def __init__(self, machine: CryptoMachine, api: IdentityApi, password: Secret):
        self._machine = machine
        self._api = api
        self._password = password
        self.standing = Standing.UNKNOWN
        self._log = logger("matrix.crypto")

    async def keys(self) -> CrossSigningKeys | None:
        """The keys in the store; None where there are none."""
        seeds = [await self._machine.secret(n) for n in (MASTER, SELF_SIGNING, USER_SIGNING)]
        master, self_signing, user_signing = seeds
        if master is None or self_signing is None or user_signing is None:
            return None
        return cross_signing.from_seeds(
            self._machine.me.user_id, master, self_signing, user_signing
        )

    async def settle(self) -> Standing:
        """Makes, publishes and signs what is missing; after the device's own keys were published.
        Raises HomeserverError where the homeserver can't be asked: to be called again then."""
        before, self.standing = self.standing, await self._settled()
        if self.standing is not before:
            self._tell()
        return self.standing

    async def published(self) -> tuple[Identity | None, bool, Mapping[str, Any]]:
        """Our identity as the homeserver has it, whether it has any master key at all, and our
        device as it gives it. Raises HomeserverError."""
        me = self._machine.me
        answer = await self._api.query_keys([me.user_id], TIMEOUT_MS)
        if answer["failures"]:
            raise HomeserverUnreachableError("The homeserver could not give our own keys.")
        parts = [
            answer[f"{usage}_keys"].get(me.user_id)
            for usage in ("master", "self_signing", "user_signing")
        ]
        device = answer["device_keys"].get(me.user_id, {}).get(me.device_id, {})
        found = identity.read_identity(me.user_id, *parts)
        return found, me.user_id in answer["master_keys"], device

    async def _settled(self) -> Standing:
        found, there, device = await self.published()
        keys = await self.keys()
        if keys is None:
            if there:
                return Standing.ELSEWHERE
            keys = await self._made()
        if there and not cross_signing.are_published(keys, found):
            if found is None or found.master != keys.master.public:
                return Standing.REPLACED
            if found.self_signing is not None and found.user_signing is not None:
                return Standing.REPLACED
        if not cross_signing.are_published(keys, found):
            if not await self._publish(keys):
                return Standing.PENDING
            crash_point("identity.published")
            found, _, device = await self.published()
        if found is None or not device:
            return Standing.PENDING
        return await self._sign(keys, found, device)

    async def _made(self) -> CrossSigningKeys:
        me = self._machine.me
        new = cross_signing.new_cross_signing_keys(me.user_id)
        kept = await self._machine.keep_secrets_once(
            {
                MASTER: new.master.seed,
                SELF_SIGNING: new.self_signing.seed,
                USER_SIGNING: new.user_signing.seed,
            }
        )
        crash_point("identity.made")
        seeds = (kept[MASTER], kept[SELF_SIGNING], kept[USER_SIGNING])
        return cross_signing.from_seeds(me.user_id, *seeds)

    async def _publish(self, keys: CrossSigningKeys) -> bool:
        me = self._machine.me
        body = await self._machine.signed_with(
            lambda sign: cross_signing.signing_keys_upload(keys, me.device_id, sign)
        )
        wanted = await self._api.upload_signing_keys(body)
        if wanted is not None and wanted.takes_password and self._password:
            auth = PasswordAuth(wanted.session, me.user_id, self._password)
            wanted = await self._api.upload_signing_keys(body, auth)
        if wanted is None:
            return True
        if wanted.url:
            todo = f"approve it at {wanted.url}, then start the adapter again"
        elif wanted.refused:
            todo = "set [matrix] password to the account's password"
        else:
            todo = "set [matrix] password, and start the adapter again"
        self._log.warning("identity_not_published", hint=todo)
        return False

    async def _sign(
        self, keys: CrossSigningKeys, found: Identity, device: Mapping[str, Any]
    ) -> Standing:
        me = self._machine.me
        # What is signed is our own word of our keys, never the homeserver's.
        ours = await self._machine.device_keys()
        if device.get("keys") != ours["keys"]:
            self._log.error(
                "device_keys_differ",
                device=me.device_id,
                hint="the homeserver gives other keys for this device than it has: log it out with "
                "`antiphon matrix reset --include-device`, and start again",
            )
            return Standing.PENDING
        signatures: dict[str, dict[str, Any]] = {me.user_id: {}}
        if not identity.device_is_signed(found, device):
            signed = cross_signing.sign_device(keys, ours, me.ed25519)
            signatures[me.user_id] |= signed[me.user_id]
        if not identity.master_is_signed_by_device(found, me.device_id, me.ed25519):
            public = cross_signing.signing_keys_upload(keys)["master_key"]
            master = await self._machine.signed_with(
                lambda sign: cross_signing.sign_own_master(keys, public, me.device_id, sign)
            )
            signatures[me.user_id] |= master[me.user_id]
        if signatures[me.user_id]:
            failed = await self._api.upload_signatures(signatures)
            if failed:
                self._log.warning("signatures_refused", device=me.device_id, answer=str(failed))
                return Standing.PENDING
            crash_point("identity.signed")
        return Standing.OURS

    def _tell(self) -> None:
        me = self._machine.me
        if self.standing is Standing.OURS:
            self._log.info("device_signed", device=me.device_id)
        elif self.standing is Standing.ELSEWHERE:
            self._log.warning("identity_elsewhere", user=me.user_id, hint=RESTORE)
        elif self.standing is Standing.REPLACED:
            self._log.warning(
                "identity_replaced",
                user=me.user_id,
                detail="the bot's identity was replaced by somebody who can log in to its account; "
                "nothing was overwritten",
                hint="was it you? Then " + RESTORE + ". Else change the account's password, look "
                "at its devices, and tell those who talk to the bot",
            )
