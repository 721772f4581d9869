"""The settings that people feel, one declaration each: type, default, help, in which scopes, and
who may change it. `!settings`, the control plane, the settings file and `docs/commands.md` all read
this table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal

import msgspec

from antiphon.core.scopes import SCOPES, Scope, ScopeKind
from antiphon.errors import SettingsError

Isolation = Literal["room", "thread", "user"]
AnswerWhen = Literal["always", "addressed"]
ShowTools = Literal["none", "names", "results"]
Changer = Literal["anyone", "moderator", "admin"]

EVERYWHERE: Final[tuple[ScopeKind, ...]] = SCOPES
NOT_ONES_OWN: Final[tuple[ScopeKind, ...]] = ("platform", "surface", "room")


class ChatSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What applies to one question after all scopes; None leaves it to the agent, or sets no
    limit. Limits: `turns_per_minute`, `queued_turns` and `tokens_per_day` count for the person or
    the room in whose scope they stand (in a wider scope: for each person)."""

    model: str | None = None
    system_prompt: str | None = None
    language: str | None = None
    isolation: Isolation = "room"
    answer_when: AnswerWhen = "always"
    streaming: bool = True
    show_tools: ShowTools = "none"
    tools: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    deadline_s: float | None = None
    turns_per_minute: int | None = None
    queued_turns: int | None = None
    tokens_per_day: int | None = None


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One declaration. `kind`: how a value is written. `changer`: who may set it in the narrow
    scopes: `anyone` for themselves and `moderator`s for their room, moderators for their room
    alone, or only `admin`s. The wide scopes are the admins' always."""

    key: str
    kind: Literal["text", "choice", "flag", "whole", "number", "words"]
    help: str
    scopes: tuple[ScopeKind, ...] = EVERYWHERE
    changer: Changer = "anyone"
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 0
    longest: int = 0

    @property
    def default(self) -> Any:
        """What applies where no scope sets it."""
        return getattr(ChatSettings(), self.key)

    @property
    def allowed(self) -> str:
        """What a value may be, as a phrase for a person."""
        match self.kind:
            case "choice":
                return " or ".join(f"`{choice}`" for choice in self.choices)
            case "flag":
                return "`on` or `off`"
            case "whole":
                return f"a whole number from {self.least:.0f} to {self.most:.0f}"
            case "number":
                return f"a number from {self.least:.0f} to {self.most:.0f}"
            case "words":
                return "names with spaces between them"
            case _:
                return f"text of up to {self.longest} characters"


SETTINGS: Final[Mapping[str, Setting]] = {
    setting.key: setting
    for setting in (
        Setting(key="model", kind="text", longest=256, help="The model that answers."),
        Setting(
            key="system_prompt",
            kind="text",
            longest=8000,
            help="What the model is told before each conversation.",
        ),
        Setting(
            key="language",
            kind="text",
            longest=64,
            help="The language of the answers, such as `English` or `Deutsch`.",
        ),
        Setting(
            key="isolation",
            kind="choice",
            choices=("room", "thread", "user"),
            scopes=NOT_ONES_OWN,
            changer="moderator",
            help="What shares one memory: the whole room, each thread of it, or each person in it. "
            "Changing it begins new conversations.",
        ),
        Setting(
            key="answer_when",
            kind="choice",
            choices=("always", "addressed"),
            scopes=NOT_ONES_OWN,
            changer="moderator",
            help="Whether every message is answered, or only one that mentions the bot, replies to "
            "it, or is a command.",
        ),
        Setting(key="streaming", kind="flag", help="Whether an answer is shown while it grows."),
        Setting(
            key="show_tools",
            kind="choice",
            choices=("none", "names", "results"),
            help="What is shown of the tools that an answer used.",
        ),
        Setting(
            key="tools",
            kind="words",
            longest=2000,
            changer="admin",
            help="The tools that may be used; all that the agent has unless set.",
        ),
        Setting(
            key="max_output_tokens",
            kind="whole",
            least=1,
            most=1_000_000,
            changer="admin",
            help="Most tokens of one answer.",
        ),
        Setting(
            key="deadline_s",
            kind="number",
            least=1,
            most=86_400,
            changer="admin",
            help="Seconds after which an answer ends in an error.",
        ),
        Setting(
            key="turns_per_minute",
            kind="whole",
            least=1,
            most=10_000,
            changer="admin",
            help="Most questions in a minute; no limit unless set.",
        ),
        Setting(
            key="queued_turns",
            kind="whole",
            least=1,
            most=10_000,
            changer="admin",
            help="Most questions that may wait at once; no limit unless set.",
        ),
        Setting(
            key="tokens_per_day",
            kind="whole",
            least=1,
            most=1_000_000_000,
            changer="admin",
            help="Most tokens in a day (UTC), questions and answers together; no limit unless set.",
        ),
    )
}

LIMITS: Final = ("turns_per_minute", "queued_turns", "tokens_per_day")
"""The settings that `!quota` sets."""

_FLAGS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


def find(key: str) -> Setting:
    """The declaration of `key`. Raises SettingsError with the nearest one and all that are."""
    setting = SETTINGS.get(key)
    if setting is not None:
        return setting
    near = get_close_matches(key.lower(), SETTINGS, n=1, cutoff=0.6)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    raise SettingsError(
        f"There is no such setting.{hint} There are: {', '.join(f'`{k}`' for k in SETTINGS)}.",
        code="unknown_setting",
    )


def parse_text(key: str, text: str) -> Any:
    """The value that a person wrote for `key`. Raises SettingsError saying what is allowed."""
    setting, text = find(key), text.strip()
    match setting.kind:
        case "flag":
            value: Any = _FLAGS.get(text.lower(), text)
        case "choice":
            value = text.lower()
        case "whole":
            value = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text
        case "number":
            try:
                value = float(text)
            except ValueError:
                value = text
        case "words":
            value = tuple(text.replace(",", " ").split())
        case _:
            value = text
    return check(key, value)


def check(key: str, value: Any) -> Any:
    """`value` as it is kept for `key`. Raises SettingsError (`unknown_setting`, `bad_value`) saying
    what is allowed."""
    setting = find(key)
    if not _fits(setting, value):
        raise SettingsError(f"`{key}` must be {setting.allowed}.", code="bad_value")
    return tuple(value) if setting.kind == "words" else value


def check_scope(key: str, kind: ScopeKind) -> None:
    """Raises SettingsError (`bad_scope`) where `key` can't be set in a scope of this kind."""
    setting = find(key)
    if kind not in setting.scopes:
        named = ", ".join(setting.scopes)
        raise SettingsError(f"`{key}` can only be set for: {named}.", code="bad_scope")


def _fits(setting: Setting, value: Any) -> bool:
    match setting.kind:
        case "flag":
            return isinstance(value, bool)
        case "choice":
            return value in setting.choices
        case "whole":
            return type(value) is int and setting.least <= value <= setting.most
        case "number":
            return type(value) in (int, float) and setting.least <= value <= setting.most
        case "words":
            if not isinstance(value, list | tuple):
                return False
            named = all(isinstance(word, str) and word.isprintable() and word for word in value)
            return named and sum(map(len, value)) <= setting.longest
        case _:
            return (
                isinstance(value, str) and 0 < len(value) <= setting.longest and "\0" not in value
            )


def merge(
    found: Iterable[tuple[Scope, str, Any]], base: Mapping[str, Any] | None = None
) -> ChatSettings:
    """One value for each setting: that of the narrowest scope which sets it, else of `base` (the
    settings file), else the default. Keys and values that this version does not know, or no longer
    allows, are left out."""
    values = dict(base or {})
    for scope, key, value in sorted(found, key=lambda item: SCOPES.index(item[0].kind)):
        setting = SETTINGS.get(key)
        if setting is not None and scope.kind in setting.scopes and _fits(setting, value):
            values[key] = tuple(value) if setting.kind == "words" else value
    return ChatSettings(**values)
