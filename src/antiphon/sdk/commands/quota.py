"""`!quota`: the limits of `core.limits`, set as settings of a person, a room, a surface, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from antiphon.core.access import AllowList
from antiphon.core.chat_settings import LIMITS, SETTINGS, parse_text
from antiphon.core.scopes import Scope
from antiphon.errors import SettingsError
from antiphon.sdk.commands.settings import RESET
from antiphon.sdk.commands.values import Asker, Kit, Reply
from antiphon.sdk.commands.words import code, counted

OFF: Final = ("off", "none", *RESET)
WHO: Final = "`@user:server`, `room`, `surface` or `everywhere`"

WORDS: Final[Mapping[str, str]] = {
    "turns_per_minute": "questions a minute",
    "queued_turns": "waiting questions",
    "tokens_per_day": "tokens a day",
}


async def quota(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!quota [WHO] [LIMIT] [VALUE]`."""
    if not arguments:
        return Reply(await _all(kit, asker))
    scope = _scope(arguments[0], asker)
    if scope is None:
        return Reply(f"WHO is {WHO}, not {code(arguments[0])}.")
    if len(arguments) == 1:
        return Reply(_line(await kit.platform.settings(scope), arguments[0]))
    key = arguments[1].lower()
    if key not in LIMITS:
        return Reply(f"LIMIT is {_limits()}, not {code(arguments[1])}.")
    if len(arguments) == 2:
        return Reply(f"Give it a value: {SETTINGS[key].allowed}, or `off`.")
    try:
        value = None if arguments[2].lower() in OFF else parse_text(key, arguments[2])
        await kit.platform.set_setting(
            scope, key, value, by=asker.user_id, request_id=asker.request_id
        )
    except SettingsError as error:
        return Reply(f"{error.message} Or `off`.")
    if value is None:
        return Reply(f"{_whose(arguments[0])}: no limit of {WORDS[key]} is set there any more.")
    return Reply(f"{_whose(arguments[0])}: at most {value:,} {WORDS[key]} now.")


def _scope(who: str, asker: Asker) -> Scope | None:
    surface = asker.place.surface
    match who.lower():
        case "room":
            return Scope("room", surface, asker.place.room)
        case "surface":
            return Scope("surface", surface)
        case "everywhere" | "everyone":
            return Scope("platform")
    try:
        one = AllowList((who,)).allows(who) and "*" not in who and "?" not in who
    except SettingsError:
        return None
    return Scope("user", surface, who) if one else None


def _whose(who: str) -> str:
    match who.lower():
        case "room":
            return "This room"
        case "surface":
            return "Each person on this surface"
        case "everywhere" | "everyone":
            return "Each person"
    return code(who)


async def _all(kit: Kit, asker: Asker) -> str:
    rules = await kit.platform.rules()
    surface, lines = asker.place.surface, []
    base = {key: value for key, value in rules.base.items() if key in LIMITS}
    if base:
        lines.append(f"- {_line(base, 'everyone')} (settings file)")
    for who in ("everywhere", "surface", "room"):
        scope = _scope(who, asker)
        assert scope is not None, "these words have a scope"
        found = rules.of_scope(scope)
        if any(key in found for key in LIMITS):
            lines.append(f"- {_line(found, who)}")
    people = {
        one.scope.subject
        for one in rules.settings
        if one.scope.kind == "user" and one.scope.surface == surface and one.key in LIMITS
    }
    if people:
        have = "has limits of its own" if len(people) == 1 else "have limits of their own"
        lines.append(f"- {counted(len(people), 'person', 'people')} {have}: `!quota @user:server`.")
    if not lines:
        return f"No limit is set. `!quota WHO LIMIT VALUE` sets one: WHO is {WHO}."
    return "\n".join(lines)


def _line(found: Mapping[str, Any], who: str) -> str:
    limits = [f"{found[key]:,} {WORDS[key]}" for key in LIMITS if type(found.get(key)) is int]
    return f"{_whose(who)}: " + (", ".join(limits) or "no limit of their own")


def _limits() -> str:
    return ", ".join(f"`{key}`" for key in LIMITS)
