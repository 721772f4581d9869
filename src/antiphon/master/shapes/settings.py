"""Settings, what applies to a question, and the rules as the HTTP API takes and gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from antiphon.core.chat_settings import SETTINGS, Setting
from antiphon.core.scopes import Scope, ScopeKind
from antiphon.master.calls import Asked
from antiphon.master.problems import Problem
from antiphon.master.shapes.common import FAR_MS, WITHOUT_NUL, Given, Id, Taken, integral
from antiphon.records.values import SettingRecord

Text = Annotated[StrictStr, Field(max_length=8000, pattern=WITHOUT_NUL)]
Word = Annotated[StrictStr, Field(max_length=2000, pattern=WITHOUT_NUL)]
Integer = Annotated[StrictInt, Field(ge=-FAR_MS, le=FAR_MS)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Value = Annotated[
    StrictBool | Integer | Number | Text | Annotated[list[Word], Field(max_length=200)],
    BeforeValidator(integral),
]

SettingKey = Annotated[
    str,
    Field(
        pattern=r"^[a-z_]{1,64}$", examples=["model"], json_schema_extra={"enum": list(SETTINGS)}
    ),
]


class PutSetting(Taken):
    """The value of a setting, and who sets it."""

    value: Value = Field(examples=["offline"])
    by: Id = Field(examples=["@ada:example.org"])


class SubjectAsked(Asked):
    """Whose: the room's or the person's id in the scopes `room` and `user`, nothing in others."""

    subject: Id | None = Field(None, examples=["!room:example.org"])


class SettingsAsked(SubjectAsked):
    """The settings of one scope."""

    scope: ScopeKind


class SettingTaken(SubjectAsked):
    """A setting that is unset, and by whom."""

    by: Id | None = None


class ResolveAsked(Asked):
    """A question: in which room (and thread), and whose."""

    room: Id
    thread_root: Id | None = None
    user_id: Id


class RulesAsked(Asked):
    """Which rules are known already, and how long to wait for others."""

    after: str | None = Field(
        None, pattern=r"^[0-9.]{1,64}$", description="The version that is known."
    )
    wait: float = Field(0, ge=0, le=30, description="Seconds to wait until they are others.")


class SettingGiven(Given):
    """One setting in one scope; version 0: it is not set there."""

    key: str
    value: Any
    version: int


class SettingsGiven(Given):
    """What is set in a scope, and only there."""

    items: list[SettingGiven]


class DeclaredGiven(Given):
    """One setting that there is: what it may be, where, and who may change it."""

    key: str
    kind: str
    help: str
    scopes: list[str]
    changer: Literal["anyone", "moderator", "admin"]
    choices: list[str]
    allowed: str = Field(description="What a value may be, in words.")
    default: Any


class DeclaredSettings(Given):
    """All settings that there are."""

    items: list[DeclaredGiven]


class ResolvedSettings(Given):
    """What applies to a question after all scopes: what some scope sets, and nothing else."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    system_prompt: str | None = None
    language: str | None = None
    isolation: str | None = None
    answer_when: str | None = None
    streaming: bool | None = None
    show_tools: str | None = None
    tools: list[str] | None = None
    max_output_tokens: int | None = None
    deadline_s: float | None = None
    turns_per_minute: int | None = None
    queued_turns: int | None = None
    tokens_per_day: int | None = None


class GrantGiven(Given):
    """A role that a pattern has."""

    pattern: str
    role: str


class ScopeGiven(Given):
    """Where a setting applies."""

    kind: ScopeKind
    surface: str
    subject: str


class SetValueGiven(Given):
    """A setting in a scope."""

    scope: ScopeGiven
    key: str
    value: Any


class RulesGiven(Given):
    """What a surface must know of everybody before it looks at any message. `erased`: people who
    were erased, and when."""

    version: str
    grants: list[GrantGiven]
    settings: list[SetValueGiven]
    base: dict[str, Any]
    erased: list[Annotated[list[Any], Field(min_length=2, max_length=2)]]
    fresh: bool


def scope_of(kind: ScopeKind, surface: str, subject: str | None) -> Scope:
    """The scope that a request names. Raises Problem `bad_scope`."""
    needed = kind in ("room", "user")
    if needed != (subject is not None):
        wanted = "needs" if needed else "takes no"
        raise Problem(422, "bad_scope", f"The scope `{kind}` {wanted} `subject`.")
    return Scope(kind, "" if kind == "platform" else surface, subject or "")


def setting(key: str, record: SettingRecord | None) -> SettingGiven:
    """A setting as it goes out."""
    if record is None:
        return SettingGiven(key=key, value=None, version=0)
    return SettingGiven(key=record.key, value=record.value, version=record.version)


def declared() -> DeclaredSettings:
    """All settings that there are, as they go out."""
    return DeclaredSettings(items=[_declared(one) for one in SETTINGS.values()])


def _declared(one: Setting) -> DeclaredGiven:
    return DeclaredGiven(
        key=one.key,
        kind=one.kind,
        help=one.help,
        scopes=list(one.scopes),
        changer=one.changer,
        choices=list(one.choices),
        allowed=one.allowed,
        default=one.default,
    )
