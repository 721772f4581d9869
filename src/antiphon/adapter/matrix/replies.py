"""What commands do here: `sdk.commander` carries them out; what only this surface can do is decided
in the transaction that fixes the reply. Doing it again after a crash does no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import debts, erasing, retrying
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.taking import Taken
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.adapter.matrix.moderators import Moderators
from antiphon.adapter.matrix.policy import SURFACE
from antiphon.adapter.matrix.standing import Standing
from antiphon.clock import Clock
from antiphon.core.commands import ParsedCommand, parse
from antiphon.core.commands.replies import nothing_to_retry_reply
from antiphon.core.ids import EventId, RunId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.crash import crash_point
from antiphon.sdk.commander import Asker, Commander, Erase, Retry, Surface
from antiphon.sdk.commands.data import YES
from antiphon.sdk.interface import Platform

ASKED_AGAIN = "Your last question here is asked again; the answer to it changes in its place."

HERE = Surface(SURFACE)

Effect = Callable[[Connection], tuple[Taken, str]]
"""What becomes true in the transaction that fixes a command's reply: what it changed, and what is
said (empty: the reply as it was)."""


class Reply(msgspec.Struct, frozen=True):
    """What is said to a command. `always`: the effect stands even where the command was taken back
    meanwhile, because a part of it is done."""

    text: str
    effect: Effect | None = None
    always: bool = False


class CommandReplies:
    """Carries out the commands that wait in a lane, and says what came of it."""

    def __init__(
        self,
        me: UserId,
        platform: Platform,
        journal: Journal,
        intake: Intake,
        moderators: Moderators,
        standing: Standing,
        clock: Clock,
        refreshed: Callable[[], Awaitable[None]],
    ):
        """`refreshed`: returns when the policy knows what was just changed."""
        self._me = me
        self._journal = journal
        self._intake = intake
        self._moderators = moderators
        self._standing = standing
        self._clock = clock
        self._refreshed = refreshed
        self._own_status: tuple[str, ...] = ()
        self._commander = Commander(
            platform, lambda: intake.policy.access, clock, HERE, lambda: self._own_status
        )

    async def reply(self, turn: Turn) -> Reply:
        """Carries out the command in `turn.text`. Idempotent by turn. Raises PlatformError."""
        parsed = parse(turn.text, HERE.catalogue)
        name = parsed.name if isinstance(parsed, ParsedCommand) else ""
        if name == "status":
            self._own_status = await self._standing.lines()
        if isinstance(parsed, ParsedCommand) and name == "forget-me" and _is_meant(parsed):
            await self._journal.write(lambda c: self._owe(c, turn))
            crash_point("forget.owed")
        asker = Asker(
            user_id=turn.sender,
            place=place_of(turn, self._me),
            request_id=turn.turn_id,
            is_admin=self._intake.policy.access.is_admin(turn.sender),
            is_moderator=name in ("settings", "whoami")
            and await self._moderators.is_one(turn.lane.room_id, turn.sender),
        )
        reply = await self._commander.reply(asker, turn.text)
        crash_point("command.done")
        await self._refreshed()
        match reply.effect:
            case Erase(forgotten=forgotten):

                def erase(connection: Connection) -> tuple[Taken, str]:
                    done = self._debt(turn)
                    device, now = self._journal.device_id, self._clock.now_ms()
                    taken = erasing.follow(connection, done, forgotten, device, now)
                    erasing.forget_turn(connection, turn)
                    return taken, ""

                return Reply(reply.text, erase, always=True)
            case Retry():
                return Reply(ASKED_AGAIN, lambda connection: self._retry(connection, turn))
            case _:
                return Reply(reply.text)

    def _retry(self, connection: Connection, command: Turn) -> tuple[Taken, str]:
        taken, said = retrying.retry(connection, command, self._intake, self._clock.now_ms())
        return taken, said or ("" if taken.queued else nothing_to_retry_reply())

    def _owe(self, connection: Connection, turn: Turn) -> None:
        debts.add(connection, self._debt(turn), self._clock.now_ms())

    @staticmethod
    def _debt(turn: Turn) -> Debt:
        return Debt(debts.PERSON, ThreadId(turn.turn_id), RunId(turn.sender))


def _is_meant(parsed: ParsedCommand) -> bool:
    return bool(parsed.arguments) and parsed.arguments[0].lower().strip("!.") in YES


def place_of(turn: Turn, me: UserId) -> Place:
    """The place of a turn's chat, as the platform knows it."""
    lane = turn.lane
    return Place(
        surface=SURFACE,
        account=me,
        room=lane.room_id,
        thread_root=EventId(lane.place_thread) if lane.place_thread else None,
        user=UserId(lane.place_user) if lane.place_user else None,
    )
