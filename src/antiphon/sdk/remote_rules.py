"""The rules as the control plane told them last: kept in the surface's own records, with what has
changed here since laid over them, and for how long the roles in them count. Asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.clock import Clock
from antiphon.core.chat_settings import LIMITS
from antiphon.core.ids import UserId
from antiphon.core.rules import Rules, SetValue
from antiphon.errors import MasterUnreachableError
from antiphon.records import erasure, forgot, queue, settings, told
from antiphon.records import rules as rows
from antiphon.sdk.remote_changes import (
    Change,
    ForgetChat,
    SetRole,
    SetSetting,
    decode,
    encode,
    of_person,
)
from antiphon.sdk.remote_here import Here
from antiphon.sdk.remote_link import Link

TOLD = "rules"
CONFIRMED = "confirmed"
CLOCK_SLACK_S = 60.0
"""How far the clock may have been set back between two lives."""
EXPIRED = "!"
"""What the version ends in when the roles count no more."""


class Told(msgspec.Struct, frozen=True):
    """What a snapshot was beside the rows that are kept of it. `here`: the version of those rows
    when it was told; where theirs is another one, something was changed here since."""

    version: str
    base: dict[str, Any]
    here: str = ""


class RemoteRules:
    """The snapshot of one surface. `ttl_s`: seconds after which roles that nobody has confirmed
    count no more. `base`: what the surface's own settings file sets, over the control plane's."""

    def __init__(
        self, here: Here, link: Link, clock: Clock, *, ttl_s: float, base: Mapping[str, Any]
    ):
        self._here = here
        self._link = link
        self._clock = clock
        self._ttl_s = ttl_s
        self._own_base = dict(base)
        self._told: Told | None = None
        self._rules: Rules | None = None
        self._confirmed_at = float("-inf")
        self._kept_at = float("-inf")
        self._changed = asyncio.Event()
        self._one = asyncio.Lock()
        self._wanted = self._reread = 0

    # --- reading --------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """That of the control plane, as it last told it; empty: never."""
        return "" if self._told is None else self._told.version

    @property
    def known(self) -> bool:
        """Whether it ever told them."""
        return self._rules is not None

    def now(self) -> Rules:
        """The newest snapshot. Raises MasterUnreachableError where there never was one."""
        if self._rules is None:
            reason = self._link.reason
            raise MasterUnreachableError(
                "The control plane has never said who may do what here, and can't be asked: "
                f"{'it was not asked yet.' if reason is None else reason.message}"
            )
        if self.left_s > 0:
            return self._rules
        return msgspec.structs.replace(
            self._rules, fresh=False, version=self._rules.version + EXPIRED
        )

    @property
    def left_s(self) -> float:
        """Seconds for which the roles still count; 0 or less: they don't."""
        return self._confirmed_at + self._ttl_s - self._clock.monotonic()

    def change(self) -> asyncio.Event:
        """An event that is set when the snapshot is next another one, or expires."""
        return self._changed

    def tell(self) -> None:
        """The snapshot is another one, or has expired."""
        self._changed.set()
        self._changed = asyncio.Event()

    # --- writing --------------------------------------------------------------------------------

    async def load(self) -> None:
        """What an earlier life was told."""

        def look(connection: Connection) -> tuple[str | None, str | None, Rules]:
            rules = rows.read(connection, self._here.surface, {})
            return queue.mark(connection, TOLD), queue.mark(connection, CONFIRMED), rules

        told_before, confirmed, rules = await self._here.database.read(look)
        if told_before is None:
            return
        if confirmed is not None:
            age_s = (self._clock.now_ms() - int(confirmed)) / 1000
            if age_s >= -CLOCK_SLACK_S:
                self._confirmed_at = self._clock.monotonic() - max(0.0, age_s)
        self._set(msgspec.json.decode(told_before, type=Told), rules)

    async def take(self, rules: Rules) -> bool:
        """The control plane has just told these; whether they are others than before."""
        async with self._one:
            return await self._take(rules)

    async def _take(self, rules: Rules) -> bool:
        was_over = self.left_s <= 0
        self._confirmed_at = self._clock.monotonic()
        now = self._clock.now_ms()
        if self._is_same(rules):
            if was_over or self._confirmed_at - self._kept_at >= self._ttl_s / 10:
                await self._here.database.write(
                    lambda connection: queue.set_mark(connection, CONFIRMED, str(now))
                )
                self._kept_at = self._confirmed_at
            if was_over:
                self.tell()
            return False

        erased: list[UserId] = []

        def keep(connection: Connection) -> tuple[Told, Rules, int]:
            erased.extend(self._write(connection, rules))
            found = rows.read(connection, self._here.surface, {})
            new = Told(rules.version, rules.base, found.version)
            queue.set_mark(connection, TOLD, msgspec.json.encode(new).decode())
            queue.set_mark(connection, CONFIRMED, str(now))
            return new, found, queue.count(connection)

        new, found, self._link.waiting = await self._here.database.write(keep)
        self._kept_at = self._confirmed_at
        self._set(new, found)
        if erased:
            await self._here.database.scrub()
        return True

    async def reread(self) -> None:
        """Something was changed here. Calls at once read once."""
        self._wanted += 1
        mine = self._wanted
        async with self._one:
            if self._told is not None and self._reread < mine:
                self._reread = self._wanted
                surface = self._here.surface
                found = await self._here.database.read(lambda c: rows.read(c, surface, {}))
                self._set(self._told, found)

    def outdated(self) -> None:
        """What is kept is not as it is there, of whatever version: the next word replaces it."""
        if self._told is not None:
            self._told = msgspec.structs.replace(self._told, version="")

    def _is_same(self, rules: Rules) -> bool:
        """Whether these are told again, and nothing was changed here since they first were."""
        if self._told is None or self._rules is None:
            return False
        same = (rules.version, rules.base) == (self._told.version, self._told.base)
        return same and self._rules.version == rules.version

    def _set(self, new: Told, rules: Rules) -> None:
        self._told = new
        self._here.base = {**new.base, **self._own_base}
        version = new.version
        if rules.version != new.here:
            version += f"/{rules.version}"
        self._rules = msgspec.structs.replace(rules, version=version, base=self._here.base)
        self.tell()

    def _write(self, connection: Connection, rules: Rules) -> list[UserId]:
        """The rows as they are there, and over them what has not been told; who was erased."""
        now, surface = self._clock.now_ms(), self._here.surface
        self._follow_isolation(connection, rules, now)
        told.rules(connection, surface, rules.grants, rules.settings, LIMITS)
        erased = self._follow_erasures(connection, rules, now)
        for one in queue.first(connection, queue.EVERYTHING):
            match decode(one.change):
                case SetSetting() as change:
                    told.setting(connection, change.scope, change.key, change.value)
                case SetRole() as change:
                    role = None if change.role is None else change.role.value
                    told.role(connection, surface, change.pattern, role)
        return erased

    def _follow_isolation(self, connection: Connection, rules: Rules, now: int) -> None:
        """A change of isolation lets the chats that it concerns begin another session here too."""
        key = "isolation"
        there = {one.scope: one.value for one in rules.settings if one.key == key}
        here = {one.scope: one.value for one in _isolations(connection, self._here.surface)}
        for scope in {*there, *here}:
            if there.get(scope) != here.get(scope):
                settings.write(
                    connection,
                    scope,
                    key,
                    there.get(scope),
                    by="",
                    now_ms=now,
                    base=self._here.base,
                )

    def _follow_erasures(self, connection: Connection, rules: Rules, now: int) -> list[UserId]:
        """What is kept here of people who were erased there goes; who that was."""
        erased: list[UserId] = []
        known = dict(rows.read(connection, self._here.surface, {}).erased)
        for user_id, at_ms in rules.erased:
            is_new = at_ms > known.get(user_id, -1)
            if is_new and not forgot.is_ours(connection, user_id, at_ms):
                self._erase(connection, user_id, at_ms, now)
                erased.append(user_id)
        return erased

    def _erase(self, connection: Connection, user_id: UserId, at_ms: int, now: int) -> None:
        waiting: list[tuple[queue.Queued, Change]] = [
            (one, decode(one.change)) for one in queue.first(connection, queue.EVERYTHING)
        ]
        queue.drop(connection, [one.seq for one, change in waiting if of_person(change, user_id)])
        for place, chat_id in told.chats_of(connection, self._here.surface, user_id):
            # One that began here while it was away is not known there: it is told, then forgotten.
            if waiting:
                name = f"erased:{at_ms}:{chat_id}"[:128]
                queue.add(connection, name, encode(ForgetChat(place, chat_id)), now)
        erasure.forget_user(connection, self._here.surface, user_id, at_ms)


def _isolations(connection: Connection, surface: str) -> tuple[SetValue, ...]:
    found = rows.read(connection, surface, {}).settings
    return tuple(one for one in found if one.key == "isolation")
