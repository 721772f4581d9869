"""Doing what a plan says, step by step. Each step can be cut off and done again; nothing of it is
undone by a later one, and what was begun is in the record until all of it is done."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from antiphon.adapter.matrix.debts import Debtor
from antiphon.adapter.matrix.journal import debts, forgetting
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.reset.leaving import Leaving, Progress
from antiphon.adapter.matrix.reset.plan import Action, Known, Mode, Options, Plan, threads_of
from antiphon.adapter.matrix.reset.result import Result
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.crash import crash_point
from antiphon.sdk.interface import Platform

Say = Callable[[str], None]


class Reset:
    """One reset over an open journal and platform; `client` is None where the homeserver could not
    be asked."""

    def __init__(
        self,
        options: Options,
        journal: Journal,
        platform: Platform,
        client: MatrixClient | None,
        clock: Clock,
        *,
        say: Say,
        progress: Progress,
    ):
        self._options = options
        self._journal = journal
        self._platform = platform
        self._client = client
        self._clock = clock
        self._say = say
        self._progress = progress

    async def run(self, plan: Plan, known: Known, concerned: frozenset[RoomId]) -> Result:
        """Does it. `known` and `plan` are what there was after the rooms were caught up with;
        `concerned` are the rooms of the record too, which an earlier, cut-off run may have done.
        Raises HomeserverUnreachableError and TokenRevokedError: run it again then."""
        result = Result(cursor="now" if self._client is not None else "first contact")
        rooms = frozenset(room.room_id for room in plan.rooms)
        await self._forget_in_journal(plan, known, rooms | concerned, result)
        for chat in known.chats:
            if chat.place.room in rooms | concerned:
                await self._platform.forget_chat(chat.place)
        crash_point("reset.chats_forgotten")
        await self._tell_agent(result)
        if self._options.mode is Mode.SERVER_LEAVE_FORGET:
            await self._leave(plan, rooms | concerned, result)
        return result

    async def _forget_in_journal(
        self, plan: Plan, known: Known, rooms: frozenset[RoomId], result: Result
    ) -> None:
        threads = threads_of(self._options, known, set(rooms))
        result.rooms = len(plan.rooms)
        result.turns = plan.rows.get("turns", 0)
        result.sessions = plan.sessions
        await self._journal.write(
            lambda connection: forgetting.forget(
                connection,
                sorted(rooms),
                threads,
                erase=not self._options.keep_memory,
                unread=self._client is None,
                device_id=self._journal.device_id,
                now_ms=self._clock.now_ms(),
            )
        )
        crash_point("reset.forgotten")

    async def _tell_agent(self, result: Result) -> None:
        """Tells the agent what is owed to it, as far as it can be reached now."""
        before = len(await self._journal.read(debts.pending))
        if before:
            health = await self._platform.check()
            if health.ok:
                await Debtor(self._platform, self._journal, self._clock).pay()
            else:
                self._say(f"The agent can't be told now: {health.detail}")
        result.owed = len(await self._journal.read(debts.pending))
        result.erased = before - result.owed
        crash_point("reset.agent_told")

    async def _leave(self, plan: Plan, rooms: frozenset[RoomId], result: Result) -> None:
        assert self._client is not None
        leave, decline = plan.with_action(Action.LEAVE), plan.with_action(Action.DECLINE)
        leaving = Leaving(self._client, self._clock, self._progress)
        result.refused = await leaving.run([*leave, *decline])
        refused = {entry.room_id for entry in result.refused}
        result.left = len(set(leave) - refused)
        result.declined = len(set(decline) - refused)
        joined = {RoomId(room_id) for room_id in await self._client.joined_rooms()}
        result.still_joined = sorted(joined & rooms if self._options.rooms else joined)
        gone = sorted(rooms - joined - refused)
        await self._journal.write(
            lambda connection: forgetting.leave(connection, gone, self._clock.now_ms())
        )
        crash_point("reset.rooms_closed")


def plan_as_json(plan: Plan, result: Result | None) -> bytes:
    """One JSON object: the plan, and what was done (null for a dry run); its keys are stable."""
    body = {"plan": plan, "result": None if result is None else result}
    return msgspec.json.format(msgspec.json.encode(body), indent=2)
