"""The composition root of a reset: looks, plans, asks, keeps what was, then does it."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec

from antiphon.adapter.matrix import reconcile
from antiphon.adapter.matrix.app import SURFACE, known_account
from antiphon.adapter.matrix.ciphers import KEY_FILES, cipher_of
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import forgetting, ruling
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import MIGRATIONS, Journal, foreign_account
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.policy import Policy, access_of
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.reset import record, sight
from antiphon.adapter.matrix.reset.apply import Reset, Say
from antiphon.adapter.matrix.reset.leaving import Progress
from antiphon.adapter.matrix.reset.plan import Known, Mode, Options, Plan, make_plan
from antiphon.adapter.matrix.reset.record import Record
from antiphon.adapter.matrix.reset.result import Result
from antiphon.adapter.matrix.service import JOURNAL
from antiphon.adapter.matrix.sync import SyncLoop
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock, SystemChance, SystemClock
from antiphon.core.commands import STANDARD
from antiphon.core.ids import UserId
from antiphon.crash import crash_point
from antiphon.db import StateLock, database_url
from antiphon.db.lock import holder
from antiphon.db.peek import peek
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    LoginError,
    StateError,
    StateInUseError,
)
from antiphon.sdk.real import look_at_chats, open_platform
from antiphon.settings import AgentSettings, General, MasterSettings, MatrixSettings

STOP_WITHIN_S = 60.0
STOP_POLL_S = 0.1
WHAT = "A Matrix adapter"


class Terms(msgspec.Struct, frozen=True):
    """How a reset goes about it. `agreed` decides over the plan; `backup` writes what was and says
    where (None: no backup); `say` and `progress` tell a person."""

    agreed: Callable[[Plan], bool]
    backup: Callable[[], Awaitable[Path]] | None
    say: Say
    progress: Progress
    stop_running: bool = False


class Looked(msgspec.Struct, frozen=True):
    """What was found without changing anything, and the signed-in client, if there is one."""

    known: Known
    client: MatrixClient | None
    me: UserId
    device_id: str


async def preview(
    general: General,
    matrix: MatrixSettings,
    options: Options,
    master: MasterSettings | None = None,
) -> Plan:
    """The plan, changing nothing anywhere. Raises SettingsError, StateError, and for
    `server-leave-forget` what keeps the homeserver from being asked."""
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        looked = await _look(stack, general, matrix, options, clock, master, may_sign_in=False)
        return make_plan(options, looked.known)


async def reset(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    options: Options,
    terms: Terms,
    master: MasterSettings | None = None,
) -> tuple[Plan, Result] | None:
    """Plans, asks, and does it; None where `terms.agreed` declines, and nothing was changed then.

    Raises StateInUseError while an adapter runs on the state; StateError where another reset was
    begun, or nothing is there; SettingsError; and what the homeserver's answers raise: the reset
    is under way then where its record was written, and the next run goes on with it."""
    state, clock = general.state_path(), SystemClock()
    began = clock.monotonic()
    async with AsyncExitStack() as stack:
        stack.enter_context(await _lock(state, clock, terms))
        pending = record.load(state)
        if pending is not None and pending.options != options:
            record.refuse_unfinished(state)
        looked = await _look(stack, general, matrix, options, clock, master, may_sign_in=True)
        plan = make_plan(options, looked.known)
        if not terms.agreed(plan):
            return None
        if pending is None:
            wanted = terms.backup if looked.known.held or looked.known.chats else None
            backup = str(await wanted()) if wanted is not None else None
            rooms = tuple(room.room_id for room in plan.rooms)
            pending = Record(options, rooms, clock.now_ms(), backup)
            record.save(state, pending)
        crash_point("reset.recorded")
        url = database_url(matrix.database, state, JOURNAL)
        journal = await Journal.open(url, looked.me, looked.device_id)
        stack.push_async_callback(journal.close)
        platform = await stack.enter_async_context(
            open_platform(
                general,
                agent,
                surface=SURFACE,
                answer_timeout_s=matrix.answer_timeout_s,
                clock=clock,
                chance=SystemChance(),
                master=master,
            )
        )
        known = looked.known
        if options.mode is Mode.LOCAL_ONLY and looked.client is not None:
            await _catch_up(looked, journal, matrix, state, clock)
        known = msgspec.structs.replace(
            known,
            held=await journal.read(forgetting.held),
            chats=await platform.chats(looked.me),
        )
        crash_point("reset.caught_up")
        doing = Reset(
            options,
            journal,
            platform,
            looked.client,
            clock,
            say=terms.say,
            progress=terms.progress,
        )
        result = await doing.run(make_plan(options, known), known, frozenset(pending.rooms))
        if options.include_device:
            result.logged_out = await _log_out(looked.client, state)
        result.backup = pending.backup
        record.remove(state)
        crash_point("reset.done")
        result.seconds = round(clock.monotonic() - began, 3)
        return plan, result


async def _lock(state: Path, clock: Clock, terms: Terms) -> StateLock:
    try:
        return StateLock.acquire(state, SURFACE, what=WHAT, passing=True)
    except StateInUseError as error:
        if not terms.stop_running:
            raise StateInUseError(
                f"{error.message} Or let the reset stop it: --stop-running."
            ) from error
    pid = holder(state, SURFACE)
    if pid:
        terms.say(f"Stopping the adapter (process {pid}) …")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    end = clock.monotonic() + STOP_WITHIN_S
    while True:
        try:
            return StateLock.acquire(state, SURFACE, what=WHAT, passing=True)
        except StateInUseError:
            if clock.monotonic() >= end:
                raise
        await clock.sleep(STOP_POLL_S)


async def _look(
    stack: AsyncExitStack,
    general: General,
    matrix: MatrixSettings,
    options: Options,
    clock: Clock,
    master: MasterSettings | None,
    *,
    may_sign_in: bool,
) -> Looked:
    state = general.state_path()
    account = await known_account(matrix, state)
    if account is None and options.mode is Mode.LOCAL_ONLY:
        raise StateError(
            f"There is nothing to reset: {state} holds no journal of a Matrix adapter."
        )
    stored = login.load(state)
    client = await stack.enter_async_context(MatrixClient(matrix.homeserver))
    signed_in, rooms, warnings = None, None, []
    try:
        device = account.device_id if account else None
        signed_in = await _signed_in(client, matrix, state, stored, device, options, may_sign_in)
        if signed_in is not None:
            rooms = await sight.rooms_of(client, clock)
    except HomeserverError as error:
        if options.mode is Mode.SERVER_LEAVE_FORGET:
            raise
        warnings.append(f"{error.message} Names and members of rooms are not known therefore.")
    if signed_in is None and not warnings:
        warnings.append(
            "There is no login that still works, so the homeserver is not asked. What is said "
            "until the adapter first reaches it counts as before the reset."
        )
    if signed_in is not None and account is not None and account.user_id != signed_in.user_id:
        raise foreign_account(account.user_id, signed_in.user_id)
    known_as = signed_in or account
    assert known_as is not None
    me = UserId(known_as.user_id)
    url = database_url(matrix.database, state, JOURNAL)
    device_id = signed_in.device_id if signed_in else account.device_id if account else None
    known = Known(
        user_id=me,
        device_id=device_id,
        state_folder=str(state),
        device_files=tuple(
            str(state / name)
            for name in (*KEY_FILES, login.FILE_NAME)
            if not name.endswith(("-wal", "-shm")) and (state / name).exists()
        ),
        held=await peek(url, MIGRATIONS, forgetting.held) or (),
        chats=await look_at_chats(general, SURFACE, me, master=master),
        server=rooms,
        warnings=tuple(warnings),
        resumes=record.load(state) is not None,
    )
    return Looked(known, client if rooms is not None else None, me, device_id or "")


async def _signed_in(
    client: MatrixClient,
    matrix: MatrixSettings,
    state: Path,
    stored: login.StoredLogin | None,
    device_id: str | None,
    options: Options,
    may_sign_in: bool,
) -> login.StoredLogin | None:
    """The login to ask the homeserver with. A new one is made only to leave rooms with."""
    try:
        found = await login.resume(client, matrix, stored)
    except LoginError:
        if options.mode is Mode.SERVER_LEAVE_FORGET:
            raise
        return None
    if found is not None or options.mode is Mode.LOCAL_ONLY:
        return found
    if not may_sign_in:
        raise LoginError(
            f"There is no login in {state} that still works, and a dry run does not make one. "
            "Start the adapter once, or set [matrix] access_token."
        )
    made = await login.sign_in(client, matrix, stored, known_device=device_id)
    login.save(state, made)
    return made


async def _catch_up(
    looked: Looked, journal: Journal, matrix: MatrixSettings, state: Path, clock: Clock
) -> None:
    """Reads what was said until now, so that it is from before the reset, whoever said it. What is
    for the device goes to its keys as at any time: the homeserver gives it once."""
    me, device, client = looked.me, looked.device_id, looked.client
    assert client is not None

    async def nobody(_: Committed) -> None:
        """Nothing is worked on."""

    policy = Policy(access_of(matrix))
    kept = await journal.read(ruling.kept)
    if kept is not None:
        policy.apply(kept, fresh=kept.rules.fresh)
    async with cipher_of(matrix, state, client, me, device, clock) as cipher:
        intake = Intake(
            me,
            device,
            policy,
            STANDARD,
            answers_edits=matrix.answer_edits,
            decrypts=cipher.enabled,
        )
        watch, metrics = SyncWatch(), Metrics()
        sync = SyncLoop(
            me, client, journal, intake, metrics, clock, watch, nobody, cipher, _AsKept()
        )
        report = Report(user_id=me, device_id=device)
        await sync.catch_up()
        await reconcile.settle(client, journal, intake, clock, report, nobody)


class _AsKept:
    """In the place of a `RulesWatch`: what is read is forgotten anyway, nobody is asked."""

    async def look(self, *_: object) -> None:
        """What the journal has kept applies."""


async def _log_out(client: MatrixClient | None, state: Path) -> bool:
    """Ends the device, and removes its login here; whether the homeserver has done its part."""
    done = False
    if client is not None:
        try:
            await client.logout()
            done = True
        except HomeserverUnreachableError:
            raise
        except HomeserverError:
            done = True  # it does not know this login any more
    for name in (*KEY_FILES, login.FILE_NAME):  # in this order: the login says whose keys they are
        (state / name).unlink(missing_ok=True)
    crash_point("reset.logged_out")
    return done
