"""The composition root of the Matrix adapter: lock, login, platform, then the service over them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from antiphon.adapter.matrix.backup import marker
from antiphon.adapter.matrix.ciphers import cipher_of
from antiphon.adapter.matrix.journal.journal import (
    MIGRATIONS,
    Account,
    account_of,
    foreign_account,
)
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.reset import record
from antiphon.adapter.matrix.service import JOURNAL, serve
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock, SystemChance, SystemClock
from antiphon.core.ids import UserId
from antiphon.crash import crash_point
from antiphon.db import StateLock, database_url
from antiphon.db.peek import peek
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    SettingsError,
    StateInUseError,
)
from antiphon.sdk.real import open_platform
from antiphon.settings import (
    AgentSettings,
    ChatFileSettings,
    General,
    MasterSettings,
    MatrixSettings,
)
from antiphon.telemetry import logger

SURFACE = "matrix"
LONGEST_PAUSE_S = 60.0
LOCK_POLL_S = 0.2

T = TypeVar("T")


async def run(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    *,
    chat: ChatFileSettings | None = None,
    master: MasterSettings | None = None,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    until_idle: float | None = None,
) -> Report | None:
    """Runs the adapter until `stop` is set (or SIGTERM or SIGINT where `stop` is None).

    `ready` is called with the operations URL once the first sync is journalled. With `until_idle`
    it ends when nothing is owed any more, or after that many seconds, and waits for no homeserver
    that is away (HomeserverUnreachableError). Gives the report of its start, None where it was
    stopped before. Raises SettingsError, StateError, LoginError, TokenRevokedError,
    AgentRefusedError, MasterRefusedError and what the database raises. `master`: the control plane,
    where one keeps chats and settings."""
    state = general.state_path()
    clock, chance = SystemClock(), SystemChance()
    stop = stop or _stop_on_signals()
    async with AsyncExitStack() as stack:
        lock = await _unless(stop, _locked(state, clock))
        if lock is None:
            return None
        stack.enter_context(lock)
        record.refuse_unfinished(state)
        account = await known_account(matrix, state)
        client = await stack.enter_async_context(MatrixClient(matrix.homeserver))
        patient = until_idle is None
        signed_in = await _unless(
            stop, _sign_in(client, matrix, state, account, clock, patient=patient)
        )
        if signed_in is None:
            return None
        platform = await stack.enter_async_context(
            open_platform(
                general,
                agent,
                surface=SURFACE,
                answer_timeout_s=matrix.answer_timeout_s,
                clock=clock,
                chance=chance,
                chat=chat,
                master=master,
            )
        )
        cipher = await stack.enter_async_context(
            cipher_of(matrix, state, client, signed_in.user_id, signed_in.device_id, clock)
        )
        return await serve(
            matrix,
            state,
            client,
            UserId(signed_in.user_id),
            signed_in.device_id,
            platform,
            clock,
            ready or (lambda _: None),
            stop,
            until_idle=until_idle,
            cipher=cipher,
        )


async def _locked(state: Path, clock: Clock) -> StateLock:
    """The lock. A reset that is at work there is waited for: who stopped us for it, with a
    supervisor that starts us again, means us to go on after it."""
    told = False
    while True:
        try:
            return StateLock.acquire(state, SURFACE, what="A Matrix adapter")
        except StateInUseError as error:
            if not error.passing:
                raise
            if not told:
                logger("matrix").info("waiting_for_a_command", detail=error.message)
                told = True
        await clock.sleep(LOCK_POLL_S)


async def known_account(matrix: MatrixSettings, state: Path) -> Account | None:
    """Whose journal there is, before anything is signed in or changed; None where there is none.

    Raises StateError where it is of another account than the settings name or a restore has
    replaced only a part of the state, and what opening the journal would raise."""
    marker.refuse_unfinished(state)
    url = database_url(matrix.database, state, JOURNAL)
    account = await peek(url, MIGRATIONS, account_of, any_schema=True)
    if account and matrix.user and not login.is_same_user(matrix.user, account.user_id):
        raise foreign_account(account.user_id, matrix.user)
    return account


async def _sign_in(
    client: MatrixClient,
    matrix: MatrixSettings,
    state: Path,
    account: Account | None,
    clock: Clock,
    *,
    patient: bool,
) -> login.StoredLogin:
    """Signs in, and keeps the login; on the device of the journal where the file is lost.

    A homeserver that has worked before is waited for if we are `patient`: after a power cut it may
    come up later than we do. One that never has is taken for a wrong setting (SettingsError)."""
    stored = login.load(state)
    pause = 1.0
    while True:
        try:
            # A journal that was restored without its login names no device: it gets a new one.
            known = (account.device_id or None) if account else None
            signed_in = await login.sign_in(client, matrix, stored, known_device=known)
        except HomeserverUnreachableError as error:
            if stored is None or stored.homeserver != client.homeserver:
                raise SettingsError(
                    f"{error.message} Check [matrix] homeserver and that it runs, then start again."
                ) from error
            if not patient:
                raise
            logger("matrix").warning("homeserver_away", error=error.message, again_in_s=pause)
            await clock.sleep(pause)
            pause = min(LONGEST_PAUSE_S, pause * 2)
        else:
            if account is not None and account.user_id != signed_in.user_id:
                if not matrix.access_token and signed_in != stored:
                    with suppress(HomeserverError):
                        await client.logout()  # the device that we have just made there
                raise foreign_account(account.user_id, signed_in.user_id)
            if signed_in != stored:
                crash_point("login.before_saved")
                login.save(state, signed_in)
                crash_point("login.saved")
            return signed_in


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives, or None when `stop` is set first (`work` is cancelled then)."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.wait([task, stopped])


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
