"""What commands do here: each leaves one reply, and doing it again after a crash does no more."""

from __future__ import annotations

from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.core.access import AllowList
from antiphon.core.commands import Catalogue, UnknownCommand, Who, WrongUsage, help_text, parse
from antiphon.core.commands.replies import (
    command_help,
    new_session_reply,
    not_permitted_reply,
    unknown_reply,
    usage_reply,
)
from antiphon.core.ids import EventId, UserId
from antiphon.core.model import Place
from antiphon.sdk.interface import Platform


class CommandReplies:
    """Carries out the commands that wait in a lane, and says what came of it."""

    def __init__(self, me: UserId, platform: Platform, admins: AllowList, catalogue: Catalogue):
        self._me = me
        self._platform = platform
        self._admins = admins
        self._catalogue = catalogue

    async def reply(self, turn: Turn) -> str:
        """Carries out the command in `turn.text`; the answer, in Markdown. Idempotent by turn.
        Raises PlatformError."""
        is_admin = self._admins.allows(turn.sender)
        parsed = parse(turn.text, self._catalogue)
        if parsed is None or isinstance(parsed, UnknownCommand):
            return unknown_reply(parsed or UnknownCommand(""), is_admin, self._catalogue)
        if parsed.command.who is Who.ADMIN and not is_admin:
            return not_permitted_reply(parsed.command)
        if isinstance(parsed, WrongUsage):
            return usage_reply(parsed)
        match parsed.name:
            case "help":
                if parsed.arguments:
                    return command_help(parsed.arguments[0], is_admin, self._catalogue)
                return help_text(is_admin, self._catalogue)
            case "new":
                chat = await self._platform.chat(place_of(turn, self._me))
                await self._platform.new_session(chat.chat_id, turn.turn_id)
                return new_session_reply()
            case name:
                raise AssertionError(f"!{name} is declared and not carried out")


def place_of(turn: Turn, me: UserId) -> Place:
    """The place of a turn's chat, as the platform knows it."""
    lane = turn.lane
    return Place(
        surface="matrix",
        account=me,
        room=lane.room_id,
        thread_root=EventId(lane.place_thread) if lane.place_thread else None,
        user=UserId(lane.place_user) if lane.place_user else None,
    )
