"""`!settings`: lists, explains, sets and resets what `core.chat_settings` declares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.core.chat_settings import SETTINGS, Setting, check_scope, find, merge, parse_text
from antiphon.core.model import Place
from antiphon.core.scopes import Scope, ScopeKind, scopes_of
from antiphon.errors import SettingsError
from antiphon.sdk.commands.values import AGENT_AWAY, Asker, Kit, Reply
from antiphon.sdk.commands.words import code, counted

WHERE: Final[Mapping[str, ScopeKind]] = {
    "me": "user",
    "room": "room",
    "surface": "surface",
    "everywhere": "platform",
}
"""The scopes as a person writes them."""

SCOPE_WORDS: Final[Mapping[ScopeKind, str]] = {kind: word for word, kind in WHERE.items()}
SET_FOR: Final[Mapping[ScopeKind, str]] = {
    "user": "for you",
    "room": "for this room",
    "surface": "for all of this surface",
    "platform": "everywhere",
}
RESET = ("reset", "default")
MODELS_SHOWN = 20

_BEHIND = re.compile(r"(?:^|\s)for\s+(?P<where>\w+)\s*$", re.IGNORECASE)
_BEFORE = re.compile(r"for\s+(?P<where>\w+)\s*(?::|(?=\s)|$)\s*", re.IGNORECASE)


async def settings(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!settings [NAME] [VALUE…]`."""
    if not arguments:
        return Reply(await _list(kit, asker))
    name, text = arguments[0].lower(), arguments[1] if len(arguments) > 1 else ""
    try:
        if name in RESET:
            return Reply(await _reset_all(kit, asker, text))
        setting = _known(kit, name)
        if not text.strip():
            return Reply(await _explain(kit, asker, setting))
        value, kind = _read(setting, text)
        return Reply(await _change(kit, asker, setting, value, kind))
    except SettingsError as error:
        return Reply(error.message)


# --- showing --------------------------------------------------------------------------------------


class _InForce(msgspec.Struct, frozen=True):
    """A setting's value now, and the scope that says so (None: no scope does)."""

    value: Any
    scope: Scope | None


async def _in_force(kit: Kit, asker: Asker) -> dict[str, _InForce]:
    base = (await kit.platform.rules()).base
    found = {name: _InForce(value, None) for name, value in base.items() if name in SETTINGS}
    for scope in scopes_of(asker.place, asker.user_id):
        set_here = await kit.platform.settings(scope)
        good = merge((scope, key, value) for key, value in set_here.items())
        for key in set_here:
            if key in SETTINGS and scope.kind in SETTINGS[key].scopes:
                found[key] = _InForce(getattr(good, key), scope)
    return {
        key: found.get(key, _InForce(setting.default, None))
        for key, setting in SETTINGS.items()
        if key in kit.surface.settings
    }


async def _list(kit: Kit, asker: Asker) -> str:
    lines = []
    for key, now in (await _in_force(kit, asker)).items():
        where = f", {SET_FOR[now.scope.kind]}" if now.scope is not None else ""
        lines.append(f"- `{key}`: {_shown(kit, SETTINGS[key], now)}{where}")
    lines += ["", "`!settings NAME` explains one; `!help settings` says how to change it."]
    return "\n".join(lines)


async def _explain(kit: Kit, asker: Asker, setting: Setting) -> str:
    now = (await _in_force(kit, asker))[setting.key]
    where = SET_FOR[now.scope.kind] if now.scope is not None else "unless set otherwise"
    places = [SCOPE_WORDS[kind] for kind in reversed(setting.scopes)]
    parts = [
        f"`{setting.key}`: {setting.help}",
        "",
        f"- It is {_shown(kit, setting, now)}, {where}.",
        f"- It may be {setting.allowed}" + (await _models_allowed(kit, setting)) + ".",
        f"- It is set for {', '.join(f'`{place}`' for place in places)}. {_who(setting)}",
        f"- `!settings {setting.key} VALUE for {places[0]}`, `!settings {setting.key} reset`",
    ]
    return "\n".join(parts)


def _shown(kit: Kit, setting: Setting, now: _InForce) -> str:
    value = now.value
    if value is None:
        limit = setting.kind in ("whole", "number")
        return "no limit of its own" if limit else "as the agent has it"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    own = now.scope is not None and now.scope.kind == "user"
    if setting.kind == "text" and setting.longest > 256 and own and kit.surface.shared:
        # What a person set for themselves is not for everybody in the room to read.
        return f"set ({counted(len(value), 'character')})"
    return code(" ".join(value) if isinstance(value, tuple) else str(value), 1000)


async def _models_allowed(kit: Kit, setting: Setting) -> str:
    if setting.key != "model":
        return ""
    try:
        return ": " + _models(await kit.platform.models())
    except AGENT_AWAY:
        return " that the agent has (it does not tell now)"


def _models(models: Sequence[str]) -> str:
    more = f" and {len(models) - MODELS_SHOWN} more" if len(models) > MODELS_SHOWN else ""
    return ", ".join(code(model) for model in models[:MODELS_SHOWN]) + more


def _who(setting: Setting) -> str:
    match setting.changer:
        case "anyone":
            return "For yourself you set it, for the room its moderators, else administrators."
        case "moderator":
            return "The room's moderators set it for the room, else administrators."
        case _:
            return "Only administrators set it."


# --- changing -------------------------------------------------------------------------------------


def _known(kit: Kit, name: str) -> Setting:
    setting = find(name)
    if setting.key not in kit.surface.settings:
        raise SettingsError(f"`{setting.key}` means nothing here.", code="unknown_setting")
    return setting


def _read(setting: Setting, text: str) -> tuple[str | None, ScopeKind]:
    """What was written after the name: a value (None: reset it) and for whom. A prompt is free
    text, which may end in anything: there the scope stands in front."""
    text, prose = text.strip(), setting.kind == "text" and setting.longest > 256
    kind: ScopeKind | None = None
    before, behind = _BEFORE.match(text), None if prose else _BEHIND.search(text)
    if before is not None and (not prose or before["where"].lower() in WHERE):
        kind, text = _kind(before["where"]), text[before.end() :]
    elif behind is not None:
        kind, text = _kind(behind["where"]), text[: behind.start()]
    else:
        # `!settings system_prompt reset for room`: nobody wants that as a prompt.
        words = text.lower().split()
        if words[:1] == [RESET[0]] and words[1:2] == ["for"] and len(words) == 3:
            kind, text = _kind(words[2]), RESET[0]
    if kind is None:
        kind = "user" if "user" in setting.scopes else "room"
    if not text.strip():
        raise SettingsError(f"`{setting.key}` must be {setting.allowed}.", code="bad_value")
    return (None if text.strip().lower() in RESET else text.strip()), kind


def _kind(word: str) -> ScopeKind:
    kind = WHERE.get(word.lower())
    if kind is None:
        raise _unknown_scope(word)
    return kind


def _unknown_scope(word: str) -> SettingsError:
    allowed = ", ".join(f"`for {where}`" for where in WHERE)
    return SettingsError(f"There is no {code('for ' + word)}. There are: {allowed}.")


async def _change(
    kit: Kit, asker: Asker, setting: Setting, text: str | None, kind: ScopeKind
) -> str:
    check_scope(setting.key, kind)
    refused = not_permitted(setting, kind, asker)
    if refused:
        return refused
    scope = scope_for(kind, asker.place, asker)
    value = None if text is None else parse_text(setting.key, text)
    if value is not None and setting.key == "model":
        wrong = await _wrong_model(kit, value)
        if wrong:
            return wrong
    await kit.platform.set_setting(
        scope, setting.key, value, by=asker.user_id, request_id=asker.request_id
    )
    if value is None:
        return f"`{setting.key}` is not set {SET_FOR[kind]} any more."
    shown = _shown(kit, setting, _InForce(value, scope))
    more = " New conversations begin with the next question." if setting.key == "isolation" else ""
    return f"`{setting.key}` is {shown} {SET_FOR[kind]} now.{more}"


async def _wrong_model(kit: Kit, name: str) -> str:
    """Why this model can't be chosen; empty: it can."""
    try:
        models = await kit.platform.models()
    except AGENT_AWAY:
        return "I can't see now which models the agent has. Nothing was set; please try again."
    if name in models:
        return ""
    return f"There is no model {code(name)} here. There are: {_models(models)}."


async def _reset_all(kit: Kit, asker: Asker, text: str) -> str:
    behind = _BEHIND.search(text)
    if text.strip() and (behind is None or text[: behind.start()].strip()):
        return "Use it like this: `!settings reset [for me|room|surface|everywhere]`."
    kind: ScopeKind = "user" if behind is None else _kind(behind["where"])
    scope = scope_for(kind, asker.place, asker)
    kept = []
    for key in await kit.platform.settings(scope):
        setting = SETTINGS.get(key)
        if setting is None or not_permitted(setting, kind, asker):
            kept.append(key)
            continue
        await kit.platform.set_setting(
            scope, key, None, by=asker.user_id, request_id=f"{asker.request_id}.{key}"
        )
    if kept:
        named = ", ".join(code(key) for key in kept)
        return f"What you may reset {SET_FOR[kind]} is reset; not yours to change: {named}."
    return f"Nothing is set {SET_FOR[kind]} any more."


def not_permitted(setting: Setting, kind: ScopeKind, asker: Asker) -> str:
    """Why the asker may not change this setting in this scope; empty: they may."""
    if asker.is_admin:
        return ""
    if kind in ("surface", "platform") or setting.changer == "admin":
        return f"Only an administrator of this bot may set `{setting.key}` {SET_FOR[kind]}."
    if kind == "room" and not asker.is_moderator:
        return (
            f"Only a moderator of this room or an administrator of this bot may set "
            f"`{setting.key}` for the room."
        )
    return ""


def scope_for(kind: ScopeKind, place: Place, asker: Asker) -> Scope:
    """The asker's scope of this kind."""
    return next(scope for scope in scopes_of(place, asker.user_id) if scope.kind == kind)
