"""What goes on beside a remote state: following the rules, finding the control plane again, telling
it what waits, and letting roles expire. Ends by cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from antiphon.clock import Chance, Clock
from antiphon.core.rules import Rules
from antiphon.errors import AntiphonError, DatabaseError, PlatformError
from antiphon.sdk.remote_api import ControlPlane
from antiphon.sdk.remote_link import AWAY, Limits, Link, first_of
from antiphon.sdk.remote_rules import RemoteRules
from antiphon.sdk.remote_teller import Teller
from antiphon.telemetry import logger

DATABASE_PAUSE_S = 1.0


class Work:
    """`settled` is awaited when all that waited was told, `changed` called when the rules were
    others, `warm` awaited once, when the control plane is there first. `poll_s`: seconds of one
    wait for other rules."""

    def __init__(
        self,
        plane: ControlPlane,
        rules: RemoteRules,
        teller: Teller,
        link: Link,
        clock: Clock,
        chance: Chance,
        *,
        limits: Limits,
        poll_s: float,
        settled: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
        warm: Callable[[], Awaitable[None]],
    ):
        self._plane = plane
        self._rules = rules
        self._teller = teller
        self._link = link
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._poll_s = poll_s
        self._settled = settled
        self._changed = changed
        self._warm_up = warm
        self._log = logger("sdk.master")

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._tell())
            group.create_task(self._expire())
            group.create_task(self._warm())

    async def _follow(self) -> None:
        failures = 0
        while True:
            try:
                asked_at = self._clock.monotonic()
                rules = await self._poll()
                if rules is None:
                    continue  # somebody found it away meanwhile
                is_new = await self._rules.take(rules)
                if is_new:
                    self._changed()
                was_away = self._link.is_away()
                self._link.found()
                failures = 0
                if not is_new and not was_away and self._is_hasty(asked_at):
                    await self._clock.sleep(self._limits.backoff_s)
            except DatabaseError as error:
                self._log.error("control_plane_cache_failed", error=error.message)
                await self._clock.sleep(DATABASE_PAUSE_S)
            except PlatformError as error:
                self._link.lost(error)
                failures += 1
                await self._pause(failures, error)

    def _is_hasty(self, asked_at: float) -> bool:
        """Whether the same rules came again without a wait, as from one that is just stopping."""
        return self._clock.monotonic() - asked_at < min(self._poll_s, 1.0) / 2

    async def _poll(self) -> Rules | None:
        """Other rules, or the same after a while; None where the control plane was lost meanwhile.
        While it is away, one question that must be answered at once."""
        change = self._link.change()
        if self._link.is_away():
            return await self._plane.rules("", 0)
        found: list[Rules] = []

        async def wait() -> None:
            found.append(await self._plane.rules(self._rules.version, self._poll_s))

        while not found:
            await first_of(change, wait())
            if self._link.is_away():
                return None
            change = self._link.change()
        return found[0]

    async def _pause(self, failures: int, error: AntiphonError) -> None:
        await self._clock.sleep(self._limits.pause(failures, self._chance.jitter(), error))

    async def _tell(self) -> None:
        while True:
            change = self._link.change()
            if self._link.is_away() or not self._link.waiting:
                await change.wait()
                continue
            try:
                conflicts = await self._teller.tell()
                if conflicts:
                    self._rules.outdated()
                    await self._rules.take(await self._plane.rules("", 0))
                await self._settled()
                await self._teller.rest()
            except AWAY as error:
                self._link.lost(error)
            except DatabaseError as error:
                self._log.error("control_plane_queue_failed", error=error.message)
                await self._clock.sleep(DATABASE_PAUSE_S)

    async def _warm(self) -> None:
        while True:
            change = self._link.change()
            if self._link.usable:
                try:
                    await self._warm_up()
                except AWAY as error:
                    self._link.lost(error)
                except (PlatformError, DatabaseError) as error:
                    self._log.warning("control_plane_not_looked_through", error=error.message)
                    return
                else:
                    return
            await change.wait()

    async def _expire(self) -> None:
        while True:
            change, left_s = self._rules.change(), self._rules.left_s
            if left_s <= 0:
                await change.wait()
                continue
            await first_of(change, self._clock.sleep(left_s))
            if self._rules.left_s <= 0 and self._rules.known:
                self._log.warning("roles_expired", why=self._link.detail)
                self._rules.tell()
