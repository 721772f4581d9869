"""Keeps the policy's snapshot up to date: at the start, before what was said is journalled, and
whenever whoever keeps roles and settings tells of a change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from sqlalchemy import Connection

from antiphon.adapter.matrix.journal import erasing, ruling
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.ruling import Known
from antiphon.adapter.matrix.policy import Policy
from antiphon.adapter.matrix.room_names import RoomNames
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.limits import day_start_ms
from antiphon.core.rules import Rules
from antiphon.crash import crash_point
from antiphon.errors import MasterRefusedError, PlatformError
from antiphon.sdk.interface import Platform
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 30.0
LONGEST_PAUSE_AT_START_S = 2.0
"""Of a start that can't do anything without the rules: it goes on soon after whoever knows them is
there again."""
LOOK_EVERY_S = 1.0
"""How old the snapshot may be when something is journalled."""
TOKENS_EVERY_S = 10.0
"""How old the count of somebody's tokens may be."""
KEEP_EVERY_S = 300.0
"""How often it is kept that nothing has changed."""
TRUSTED_FOR_S = 900.0
"""How long roles that were given count at a start at which nobody can be asked."""


class RulesWatch:
    """Asks the platform, keeps what it says in the journal, and applies it."""

    def __init__(
        self,
        platform: Platform,
        journal: Journal,
        policy: Policy,
        clock: Clock,
        names: RoomNames,
    ):
        self._platform = platform
        self._journal = journal
        self._policy = policy
        self._clock = clock
        self._names = names
        self._committed: Callable[[Committed], Awaitable[None]] | None = None
        self._one = asyncio.Lock()
        self._looked_ms = 0
        self._kept_ms = 0
        self._counted: dict[tuple[UserId | None, RoomId | None], int] = {}
        self._log = logger("matrix.rules")

    def on_committed(self, tell: Callable[[Committed], Awaitable[None]]) -> None:
        """`tell` is given what following the rules has changed in the journal."""
        self._committed = tell

    async def begin(self) -> None:
        """Applies the newest rules, or those that the journal has kept where nobody can be asked;
        waits where nothing was ever told. Raises MasterRefusedError in that case, since nothing
        will ever be told by a wrong token."""
        kept, pause, said = await self._journal.read(ruling.kept), 0.5, 0.0
        while True:
            try:
                await self._apply(await self._platform.rules())
            except PlatformError as error:
                if kept is not None:
                    self._log.warning("rules_of_before", error=error.message)
                    self._policy.apply(kept, fresh=self._is_trusted(kept))
                    return
                if isinstance(error, MasterRefusedError):
                    raise
                if pause != said:  # the same again is no news
                    self._log.warning("rules_unknown", error=error.message, again_in_s=pause)
                    said = pause
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_AT_START_S, pause * 2)
            else:
                return

    async def look(
        self,
        asked: Iterable[tuple[RoomId, UserId]] = (),
        claims: Mapping[RoomId, str] | None = None,
    ) -> None:
        """Before something is journalled: the snapshot is the newest, the rooms' names are known
        (`claims`: what they call themselves now), and what is limited was counted for who `asked`
        (room and sender)."""
        now = self._clock.now_ms()
        if abs(now - self._looked_ms) >= LOOK_EVERY_S * 1000:
            try:
                await self._apply(await self._platform.rules())
            except PlatformError as error:
                self._log.debug("rules_not_seen", error=error.message)
                known = self._policy.known
                self._policy.apply(known, fresh=self._policy.fresh and self._is_trusted(known))
        rooms: set[RoomId] = set()
        people: set[UserId] = set()
        for room_id, sender in asked:
            rooms.add(room_id)
            people.add(sender)
        await self._names.look(rooms, claims)
        for user_id in people:
            if self._policy.person_limits(user_id).tokens_per_day is not None:
                await self._count(user_id, None)
        for room_id in rooms:
            if self._policy.room_limits(room_id).tokens_per_day is not None:
                await self._count(None, room_id)

    async def refresh(self) -> None:
        """The snapshot is at least as new as this call, where anybody can be asked."""
        self._looked_ms = 0
        await self.look()

    async def run(self) -> None:
        """Follows changes for ever; ends by cancellation."""
        pause = 0.5
        while True:
            try:
                await self._apply(await self._next())
            except PlatformError as error:
                self._log.debug("rules_not_followed", error=error.message)
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
            else:
                pause = 0.5

    async def _next(self) -> Rules:
        """The rules when they have changed, or as they are after a while."""
        version = self._policy.known.rules.version
        changed = asyncio.ensure_future(self._platform.rules_after(version))
        passed = asyncio.ensure_future(self._clock.sleep(KEEP_EVERY_S))
        try:
            await asyncio.wait([changed, passed], return_when=asyncio.FIRST_COMPLETED)
            if changed.done():
                return changed.result()
        finally:
            for task in (changed, passed):
                task.cancel()
            await asyncio.wait([changed, passed])
        return await self._platform.rules()

    async def _apply(self, rules: Rules) -> None:
        async with self._one:
            now = self._clock.now_ms()
            self._looked_ms = now
            before = self._policy.known.rules
            same = (before.version, self._policy.fresh) == (rules.version, rules.fresh)
            if same and 0 <= now - self._kept_ms < KEEP_EVERY_S * 1000:
                return

            def record(connection: Connection) -> tuple[Known, Committed]:
                kept = ruling.kept(connection)
                known = ruling.keep(connection, rules, now)
                followed = kept.rules.erased if kept else ()
                result = Committed()
                for user_id, at_ms in rules.erased:
                    if (user_id, at_ms) not in followed:
                        result.merge(
                            erasing.erase(connection, user_id, at_ms, self._journal.device_id, now)
                        )
                return known, result

            known, result = await self._journal.write(record)
            crash_point("rules.kept")
            self._kept_ms = now
            self._policy.apply(known, fresh=rules.fresh)
            if not same:
                self._log.info("rules_changed", version=rules.version, fresh=rules.fresh)
        if self._committed is not None:
            await self._committed(result)

    async def _count(self, user_id: UserId | None, room_id: RoomId | None) -> None:
        now = self._clock.now_ms()
        counted = self._counted.get((user_id, room_id))
        if counted is not None and abs(now - counted) < TOKENS_EVERY_S * 1000:
            return
        try:
            used = await self._platform.usage(
                since_ms=day_start_ms(now), user_id=user_id, room=room_id
            )
        except PlatformError as error:
            self._log.warning("tokens_not_counted", error=error.message)
            return
        self._counted[user_id, room_id] = now
        self._policy.count_tokens(now, used.tokens, by=user_id, room=room_id)

    def _is_trusted(self, kept: Known) -> bool:
        age_ms = self._clock.now_ms() - kept.known_ms
        return kept.rules.fresh and 0 <= age_ms < TRUSTED_FOR_S * 1000
