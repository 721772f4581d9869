"""The adapter's parts put together over a signed-in client and a platform, until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from antiphon.adapter.matrix import reconcile
from antiphon.adapter.matrix.ageing import Ageing
from antiphon.adapter.matrix.arrivals import Arrivals
from antiphon.adapter.matrix.cipher import Cipher, NoCipher
from antiphon.adapter.matrix.debts import Debtor
from antiphon.adapter.matrix.delivery import Delivery
from antiphon.adapter.matrix.dispatch import Dispatch
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal.journal import Journal, account_of
from antiphon.adapter.matrix.lanes import Lanes
from antiphon.adapter.matrix.late_keys import LateKeys
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.moderators import Moderators
from antiphon.adapter.matrix.operate import Operations
from antiphon.adapter.matrix.owed import owed
from antiphon.adapter.matrix.policy import Policy, access_of
from antiphon.adapter.matrix.redactor import Redactor
from antiphon.adapter.matrix.replies import CommandReplies
from antiphon.adapter.matrix.report import Report
from antiphon.adapter.matrix.room_names import RoomNames
from antiphon.adapter.matrix.rules_watch import RulesWatch
from antiphon.adapter.matrix.run_slots import RunSlots
from antiphon.adapter.matrix.runner import TurnRunner
from antiphon.adapter.matrix.standing import Standing
from antiphon.adapter.matrix.stopper import Stopper
from antiphon.adapter.matrix.sync import SyncLoop
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.typing_notice import TypingNotices
from antiphon.adapter.matrix.upgrades import Upgrades
from antiphon.adapter.matrix.usage_clerk import UsageClerk
from antiphon.clock import Clock
from antiphon.core.commands import STANDARD
from antiphon.core.ids import UserId
from antiphon.core.pacing import EditPacer
from antiphon.crash import crash_point
from antiphon.db import database_url
from antiphon.errors import (
    AgentRefusedError,
    HomeserverError,
    HomeserverUnreachableError,
    MasterUnreachableError,
)
from antiphon.sdk.interface import Platform
from antiphon.settings import MatrixSettings
from antiphon.telemetry import logger

JOURNAL = "matrix.db"
"""The journal's file in the state folder, where the settings name no database."""


async def serve(
    matrix: MatrixSettings,
    state: Path,
    client: MatrixClient,
    me: UserId,
    device_id: str,
    platform: Platform,
    clock: Clock,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    *,
    until_idle: float | None = None,
    cipher: Cipher | None = None,
) -> Report:
    """Runs the adapter of the signed-in account `me` over ready-made parts; `run` otherwise.

    With `until_idle` only until nothing is owed any more, at most this many seconds for the
    catching up (HomeserverUnreachableError then) and as many for the work. Gives what its start
    found, and with `until_idle` what is left."""
    log = logger("matrix")
    policy = Policy(access_of(matrix), matrix.display_name)
    metrics = Metrics()
    cipher = cipher or NoCipher()
    intake = Intake(
        me,
        device_id,
        policy,
        STANDARD,
        answers_edits=matrix.answer_edits,
        decrypts=cipher.enabled,
        breaks_loops=matrix.break_loops,
    )
    async with AsyncExitStack() as stack:
        url = database_url(matrix.database, state, JOURNAL)
        journal = await Journal.open(url, me, device_id)
        stack.push_async_callback(journal.close)
        crash_point("journal.opened")
        operations = Operations(me, journal, platform, metrics, clock)
        address = await operations.start(matrix.host, matrix.port)
        stack.push_async_callback(operations.stop)
        watch = SyncWatch()
        gate = SendGate(clock)
        cipher.send_through(gate)
        cipher.ask_who_may_talk(lambda user_id: policy.access.may_talk(user_id))
        delivery = Delivery(client, journal, gate, metrics, clock, watch, cipher)
        debtor = Debtor(platform, journal, clock)
        clerk = UsageClerk(platform, journal, policy, clock)
        redactor = Redactor(journal, delivery)
        stopper = Stopper(journal, delivery, debtor, clock)
        names = RoomNames(client, journal, policy, matrix.rooms, clock)
        rules = RulesWatch(platform, journal, policy, clock, names)
        replies = CommandReplies(
            me,
            platform,
            journal,
            intake,
            Moderators(client),
            Standing(journal, policy, metrics, cipher, clock),
            clock,
            rules.refresh,
        )
        runner = TurnRunner(
            me,
            platform,
            journal,
            delivery,
            TypingNotices(client, me, clock),
            replies,
            policy,
            debtor,
            redactor,
            clerk,
            metrics,
            clock,
            EditPacer(matrix.edit_interval_s, matrix.max_edits),
        )
        report = Report(user_id=me, device_id=device_id, device_changed=journal.device_changed)
        before = await journal.read(account_of)
        if before is not None:
            report.first_start = before.batches == 0
            report.cursor_lost = before.cursor_lost
        async with _until(stop) as group:
            lanes = Lanes(group, journal, runner, metrics, RunSlots(matrix.max_running))
            upgrades = Upgrades(me, client, journal, platform, clock)
            arrivals = Arrivals(me, client, journal, intake, rules, clock, upgrades, cipher)
            late_keys = LateKeys(journal, cipher, intake, rules, metrics, clock)
            cipher.on_keys(late_keys.wake)
            cipher.on_standing(metrics.standing)
            dispatch = Dispatch(
                lanes,
                stopper=stopper,
                debtor=debtor,
                redactor=redactor,
                arrivals=arrivals,
                late_keys=late_keys,
                report=report,
            )
            for part in (rules, runner, debtor):
                part.on_committed(dispatch.committed)
            sync = SyncLoop(
                me,
                client,
                journal,
                intake,
                metrics,
                clock,
                watch,
                dispatch.committed,
                cipher,
                rules,
            )
            group.create_task(_meet(platform))
            if report.device_changed:
                log.warning("device_changed", hint="what was sent is known from the rooms alone")
            log.info("started", user=me, device=device_id, operations=address)
            async with _master_within(until_idle):
                await rules.begin()
            if policy.access.nobody:
                log.warning("nobody_allowed", hint="set [matrix] allow: until then nobody may talk")
            async with _homeserver_within(until_idle):
                await sync.catch_up()
                await reconcile.settle(client, journal, intake, clock, report, dispatch.committed)
            log.info("reconciled", **{what: n for what, n in report.counts().items() if n})
            metrics.reconciled(report.counts(), clock.now_ms() / 1000)
            crash_point("catchup.done")
            now = await journal.read(account_of)
            intake.caught_up(now.batches if now is not None else 0)
            await dispatch.open()
            workers: tuple[Coroutine[Any, Any, None], ...] = (
                sync.run()
                if until_idle is None
                else _work_off(sync, journal, platform, report, until_idle),
                debtor.run(),
                clerk.run(),
                rules.run(),
                Ageing(journal, clock, matrix.keep_days).run(),
                redactor.run(),
                stopper.run(),
                arrivals.run(dispatch.committed, lanes.wake_room),
                late_keys.run(dispatch.committed),
                cipher.run(),
                _introduce(client, me, matrix.display_name, policy),
            )
            for worker in workers:
                group.create_task(worker)
            ready(address)
        log.info("stopped", user=me)
        report.ended = metrics.ended()
        if until_idle is not None:
            report.left = await journal.read(owed)
        return report


async def _work_off(
    sync: SyncLoop, journal: Journal, platform: Platform, report: Report, within_s: float
) -> None:
    """Takes the place of the endless sync loop where the adapter is to end by itself."""
    await reconcile.work_off(sync, journal, platform, report, within_s)
    raise _Stopped


@asynccontextmanager
async def _homeserver_within(seconds: float | None) -> AsyncIterator[None]:
    """Ends the wait for the homeserver after `seconds` (None: never)."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HomeserverUnreachableError(
            f"The homeserver did not show the state of the rooms within {seconds:g} s. Nothing was "
            "sent; what was read is journalled."
        ) from None


@asynccontextmanager
async def _master_within(seconds: float | None) -> AsyncIterator[None]:
    """As `_homeserver_within`, of whoever keeps roles and settings."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise MasterUnreachableError(
            f"The control plane did not say who may do what within {seconds:g} s. Nothing was read "
            "or sent."
        ) from None


async def _meet(platform: Platform) -> None:
    """Tells at once, not at the first question, whether the agent can be reached; a refused token
    ends the adapter (AgentRefusedError)."""
    health = await platform.check()
    if health.code == AgentRefusedError.code:
        raise AgentRefusedError(health.detail)
    if not health.ok:
        logger("matrix").warning("agent_away", detail=health.detail)


async def _introduce(client: MatrixClient, me: UserId, name: str, policy: Policy) -> None:
    """Sets the display name where the settings give one and it differs; the policy learns what we
    are called."""
    try:
        now = await client.displayname(me)
        policy.display_name = name or now or ""
        if name and now != name:
            await client.set_displayname(me, name)
    except HomeserverError as error:
        logger("matrix").warning("display_name_not_set", error=error.message)


class _Stopped(Exception):  # noqa: N818 - a signal inside this module, not an error
    """The adapter was asked to stop."""


@asynccontextmanager
async def _until(stop: asyncio.Event) -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that ends when `stop` is set; a failure of one task ends all and is raised."""

    async def watch() -> None:
        await stop.wait()
        raise _Stopped

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            yield group
    except BaseExceptionGroup as errors:
        _, rest = errors.split(_Stopped)
        if rest is not None:
            raise _first(rest) from errors


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell: the first one that is no group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
