"""`!allow` and `!deny`: roles that are given while running. The settings file stands above what is
given, and a block above everything (`core.roles`)."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.core.access import AllowList
from antiphon.core.people import Role
from antiphon.errors import SettingsError
from antiphon.sdk.commands.settings import RESET
from antiphon.sdk.commands.values import Asker, Kit, Reply
from antiphon.sdk.commands.words import code

SHOWN = 50


async def allow(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!allow [ID] [RESET]`."""
    if not arguments:
        return Reply(await _given(kit))
    return Reply(await _give(kit, asker, arguments, Role.USER))


async def deny(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!deny ID [RESET]`."""
    return Reply(await _give(kit, asker, arguments, Role.BLOCKED))


async def _give(kit: Kit, asker: Asker, arguments: Sequence[str], role: Role) -> str:
    pattern, reset = arguments[0], len(arguments) > 1
    if reset and arguments[1].lower() not in RESET:
        return f"After the id may only stand `reset`, not {code(arguments[1])}."
    try:
        meant = AllowList((pattern,), "This")
    except SettingsError as error:
        return error.message
    if role is Role.BLOCKED and not reset and meant.allows(asker.user_id):
        return f"{code(pattern)} is you too, so nobody was blocked."
    try:
        await kit.platform.set_role(
            pattern, None if reset else role, by=asker.user_id, request_id=asker.request_id
        )
    except SettingsError as error:
        return error.message
    done = {
        Role.USER: f"{code(pattern)} may talk to me now.",
        Role.BLOCKED: f"{code(pattern)} is blocked now.",
    }[role]
    if reset:
        done = f"{code(pattern)} has no role that was given while running any more."
    return f"{done}{await _but(kit, pattern, None if reset else role)}"


async def _but(kit: Kit, pattern: str, given: Role | None) -> str:
    """What stands above the role that was given to one person, if anything does."""
    if "*" in pattern or "?" in pattern:
        return "" if given is not Role.USER else " Who is blocked stays blocked."
    rules = await kit.platform.rules()
    now = kit.access().with_grants(rules.grants, fresh=True).role_of(pattern)
    if given is Role.USER and now is Role.BLOCKED:
        return " But they stay blocked: another rule or the settings file says so."
    if given is None and now is not None:
        what = {Role.BLOCKED: "are blocked", Role.USER: "may talk", Role.ADMIN: "are an admin"}[now]
        return f" They {what} by another rule or the settings file."
    return ""


async def _given(kit: Kit) -> str:
    grants = sorted((await kit.platform.rules()).grants, key=lambda g: (g.role, g.pattern))
    if not grants:
        return "No role was given while running; the settings file alone says who may talk."
    words = {Role.ADMIN: "administrator", Role.USER: "may talk", Role.BLOCKED: "blocked"}
    lines = [f"- {code(grant.pattern)}: {words[grant.role]}" for grant in grants[:SHOWN]]
    if len(grants) > SHOWN:
        lines.append(f"- and {len(grants) - SHOWN} more")
    return "\n".join(["Given while running, besides the settings file:", "", *lines])
