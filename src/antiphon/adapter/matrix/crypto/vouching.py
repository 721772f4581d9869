"""What a verification is worth to the bot: which own keys it proves to others, and what it does
once a person here has compared. Nothing else raises trust in anybody's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from antiphon.adapter.matrix.crypto import cross_signing
from antiphon.adapter.matrix.crypto.canonical import is_signed
from antiphon.adapter.matrix.crypto.cross_signing import CrossSigningKeys
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.verification_state import Verified
from antiphon.errors import EncryptionError, HomeserverError, TokenRevokedError
from antiphon.telemetry import logger


class OwnKeys(Protocol):
    """The bot's own identity."""

    async def keys(self) -> CrossSigningKeys | None:
        """Its keys, private parts and all; None where they are not here."""
        ...


class SignaturesApi(Protocol):
    """Where signatures go; `MatrixClient.keys` does it."""

    async def upload_signatures(
        self, signatures: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> Mapping[str, Mapping[str, Any]]:
        """Publishes signatures; those that were not taken."""
        ...


class Vouching:
    """Implements `verifier.Trust` by the bot's own identity."""

    def __init__(self, machine: CryptoMachine, own: OwnKeys, api: SignaturesApi):
        self._machine = machine
        self._own = own
        self._api = api
        self._log = logger("matrix.verification")

    async def own_master(self) -> str | None:
        """Our public master key where its private part is here, which proves it ours."""
        keys = await self._own.keys()
        return None if keys is None else keys.master.public

    async def vouch(self, verified: Verified) -> None:
        """This identity is the user's: pinned, and signed by our own where we have one. Raises
        TokenRevokedError."""
        master = verified.master_key
        if master is None or verified.user_id == self._machine.me.user_id:
            return
        await self._machine.accept_identity(verified.user_id, master)
        await self._sign(verified.user_id, master)

    async def settle(self) -> None:
        """Signs those verified identities that do not carry our signature, because an upload failed
        or our own identity came later. Raises TokenRevokedError."""
        own = await self._own.keys()
        if own is None:
            return
        for user in await self._machine.verified_users():
            if user.user_id == self._machine.me.user_id or user.verified is None:
                continue
            theirs = (await self._machine.identity_keys(user.user_id)).get("master", {})
            signer = own.user_signing.public
            if not is_signed(theirs, self._machine.me.user_id, f"ed25519:{signer}", signer):
                await self._sign(user.user_id, user.verified)

    async def _sign(self, user_id: str, master: str) -> None:
        """What fails is done again by `settle`."""
        keys = await self._own.keys()
        theirs = (await self._machine.identity_keys(user_id)).get("master")
        if keys is None or theirs is None:
            return
        try:
            failed = await self._api.upload_signatures(
                cross_signing.sign_user(keys, theirs, master)
            )
        except TokenRevokedError:
            raise
        except (HomeserverError, EncryptionError) as error:
            self._log.warning("user_not_signed", user=user_id, error=error.message)
        else:
            if failed:
                self._log.warning("user_not_signed", user=user_id, error=str(failed))
