"""Carries out every command that needs only the platform, for every surface in the same way. What a
surface must do itself (stop, ask again, erase its own) comes back as an effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from antiphon.clock import Clock
from antiphon.core.commands import UnknownCommand, Who, WrongUsage, parse
from antiphon.core.commands.replies import (
    command_help,
    help_text,
    not_permitted_reply,
    unknown_reply,
    usage_reply,
)
from antiphon.core.roles import Access
from antiphon.errors import PlatformError
from antiphon.sdk.commands import data, own, people, quota, sessions, settings, status
from antiphon.sdk.commands.values import (
    Asker,
    Effect,
    Erase,
    Kit,
    Reply,
    Retry,
    Stop,
    Surface,
)
from antiphon.sdk.interface import Platform

__all__ = [
    "Asker",
    "Commander",
    "Effect",
    "Erase",
    "Reply",
    "Retry",
    "Stop",
    "Surface",
]

FORBIDDEN: Final = "forbidden"

Carry = Callable[[Kit, Asker, Sequence[str]], Awaitable[Reply]]


async def _retry(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    return Reply("", effect=Retry())


async def _stop(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    return Reply("", effect=Stop())


CARRIED: Final[Mapping[str, Carry]] = {
    "new": sessions.new,
    "sessions": sessions.sessions,
    "rename": sessions.rename,
    "archive": sessions.archive,
    "stop": _stop,
    "retry": _retry,
    "settings": settings.settings,
    "whoami": own.whoami,
    "usage": own.usage,
    "export": data.export,
    "forget-me": data.forget_me,
    "status": status.status,
    "allow": people.allow,
    "deny": people.deny,
    "quota": quota.quota,
}
"""All but `!help`, which needs nothing."""


class Commander:
    """The commands of one surface."""

    def __init__(
        self,
        platform: Platform,
        access: Callable[[], Access],
        clock: Clock,
        surface: Surface,
        more_status: Callable[[], Sequence[str]] = tuple,
    ):
        """`access`: the policy as it is when a command is carried out; `more_status`: lines of the
        surface's own for `!status`, Markdown."""
        self._surface = surface
        self._kit = Kit(platform, access, clock, surface, more_status, clock.monotonic())

    async def reply(self, asker: Asker, text: str) -> Reply:
        """Carries out the command that `text`, one whole message, is, and says what came of it;
        of anything else that there is no such command. Whether the asker may talk at all was
        decided before.

        Idempotent by `asker.request_id`. What a person did wrong is said in the reply; raises only
        what the platform does where it can't (PlatformError, of which AgentUnreachableError and
        others are retryable, and DatabaseError)."""
        catalogue = self._surface.catalogue
        parsed = parse(text, catalogue)
        if parsed is None or isinstance(parsed, UnknownCommand):
            return Reply(unknown_reply(parsed or UnknownCommand(""), asker.is_admin, catalogue))
        if parsed.command.who is Who.ADMIN and not asker.is_admin:
            return Reply(not_permitted_reply(parsed.command))
        if isinstance(parsed, WrongUsage):
            return Reply(usage_reply(parsed))
        if parsed.name == "help":
            if parsed.arguments:
                return Reply(command_help(parsed.arguments[0], asker.is_admin, catalogue))
            return Reply(help_text(asker.is_admin, catalogue))
        try:
            return await CARRIED[parsed.name](self._kit, asker, parsed.arguments)
        except PlatformError as error:
            if error.code != FORBIDDEN:
                raise
            return Reply(error.message)  # a control plane lets this surface not do that
