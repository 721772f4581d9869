"""The composition root of recovery: the state's lock, the login, and the device's keys. No adapter
runs meanwhile: the key store has one owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from antiphon.adapter.matrix.app import SURFACE, known_account
from antiphon.adapter.matrix.ciphers import installed
from antiphon.adapter.matrix.reset import record
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import SystemClock
from antiphon.db import StateLock
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings import General, MatrixSettings

if TYPE_CHECKING:
    from antiphon.adapter.matrix.crypto.recovering import Recovering


@asynccontextmanager
async def open_recovery(general: General, matrix: MatrixSettings) -> AsyncIterator[Recovering]:
    """Recovery of the account in the settings, from the device of this state; a state without a
    login gets one, which is a new device.

    Raises StateInUseError while an adapter runs on the state, MissingExtraError without the extra
    `e2ee`, SettingsError, StateError, LoginError, and what the homeserver's answers raise."""
    if not installed():
        raise MissingExtraError("A recovery key needs an extra: install antiphon[e2ee].")
    if not matrix.encryption:
        raise SettingsError(
            "Encryption is switched off: set [matrix] encryption = true to use a recovery key."
        )
    from antiphon.adapter.matrix.crypto.opening import open_crypto
    from antiphon.adapter.matrix.crypto.recovering import Recovering

    state, clock = general.state_path(), SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(StateLock.acquire(state, SURFACE, what="A Matrix adapter"))
        record.refuse_unfinished(state)
        account = await known_account(matrix, state)
        client = await stack.enter_async_context(MatrixClient(matrix.homeserver))
        stored = login.load(state)
        known = (account.device_id or None) if account else None
        signed_in = await login.sign_in(client, matrix, stored, known_device=known)
        if signed_in != stored:
            login.save(state, signed_in)
        opened = await stack.enter_async_context(
            open_crypto(matrix, state, client, signed_in.user_id, signed_in.device_id, clock)
        )
        yield Recovering(
            opened.crypto.machine, client, opened.own, opened.backup, opened.crypto.settle
        )
