"""The one table of settings: name, type, default and help, from which files, environment,
`antiphon init` and `docs/settings.md` are made. A leaf: imports only `errors`.

Order, later wins: defaults, `antiphon.toml`, `ANTIPHON_…` variables (`ANTIPHON_AGENT__TOKEN`), and
for secrets `ANTIPHON_…_FILE`, whose file's content is the value. A process reads only its own
section (and `url` and `token` of services that it calls), so one broken section stops only its own.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from antiphon.errors import SettingsError

PREFIX = "ANTIPHON_"
FILE_NAME = "antiphon.toml"


class Secret:
    """A value that must not be seen: `repr` and `str` hide it, `reveal()` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def _help(text: str, **constraints: Any) -> Meta:
    return Meta(description=text, **constraints)


Port = Annotated[int, Meta(ge=0, le=65535)]


class General(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings at the top of the file; every process reads them."""

    state_dir: Annotated[
        str, _help("Folder of databases, keys and tokens; one per bot. Made with mode 0700.")
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _help("Least severe line that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "text", "json"],
        _help("Log lines for people or programs; `auto`: text on a terminal, else JSON."),
    ] = "auto"

    def state_path(self) -> Path:
        """The state folder, absolute; by default in the user's data folder."""
        if self.state_dir:
            return Path(self.state_dir).expanduser().absolute()
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return Path(base) / "antiphon"


class MatrixSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[matrix]`: the Matrix adapter."""

    homeserver: Annotated[
        str, _help("Base URL of the homeserver, such as `https://matrix.example.org`.")
    ] = ""
    user: Annotated[str, _help("The bot's account: `@bot:example.org` (or its localpart).")] = ""
    password: Annotated[Secret, _help("Password of the account; or give `access_token`.")] = Secret(
        ""
    )
    access_token: Annotated[
        Secret, _help("Access token of the account; its device is used as it is.")
    ] = Secret("")
    allow: Annotated[
        tuple[str, ...],
        _help(
            "Who may talk (and invite): Matrix IDs and globs such as `@*:example.org`; `*` for "
            "all. Nobody by default."
        ),
    ] = ()
    admins: Annotated[
        tuple[str, ...],
        _help("Who may talk and also use admin commands: Matrix IDs and globs."),
    ] = ()
    blocked: Annotated[
        tuple[str, ...],
        _help("Who may do nothing at all, whatever else is said: Matrix IDs and globs."),
    ] = ()
    invite: Annotated[
        tuple[str, ...],
        _help("Who may invite (admins always may): Matrix IDs and globs; empty: who may talk."),
    ] = ()
    rooms: Annotated[
        tuple[str, ...],
        _help(
            "Rooms that are entered and answered in: ids, aliases and globs such as "
            "`#*:example.org`; empty: any."
        ),
    ] = ()
    max_running: Annotated[
        int, _help("Most questions that the agent is asked at once; fair between people.", ge=1)
    ] = 200
    break_loops: Annotated[
        bool,
        _help("Whether a bot that answers our answers, again and again, is not answered any more."),
    ] = True
    keep_days: Annotated[
        int,
        _help("Days after which texts of what is over leave the journal; 0 keeps them.", ge=0),
    ] = 30
    host: Annotated[str, _help("Address of the operations port (`/health`, `/metrics`).")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, _help("Operations port; 0 takes any free one.")] = 0
    database: Annotated[
        str, _help("Database URL of the journal; by default `matrix.db` in the state folder.")
    ] = ""
    display_name: Annotated[str, _help("The bot's display name; empty leaves it as it is.")] = ""
    edit_interval_s: Annotated[
        float, _help("Seconds between the first edits of an answer; the gap grows.", gt=0)
    ] = 1.0
    max_edits: Annotated[
        int, _help("Most partial edits of one answer; the final edit always comes.", ge=0, le=50)
    ] = 15
    answer_edits: Annotated[
        bool,
        _help("Whether a question that is edited after its answer is answered anew, in place."),
    ] = True
    encryption: Annotated[
        bool,
        _help(
            "Whether encrypted rooms are read and written in, where the extra e2ee is installed."
        ),
    ] = True
    only_cross_signed: Annotated[
        bool,
        _help(
            "Whether only devices that their owner has verified (cross-signed) are talked to in "
            "encrypted rooms; otherwise all devices are."
        ),
    ] = False
    keys_secret: Annotated[
        Secret,
        _help(
            "Secret under which the encryption keys lie on disk; by default the system's keyring "
            "keeps one, or a file in the state folder."
        ),
    ] = Secret("")
    keys_database: Annotated[
        str, _help("Database URL of the encryption keys; `matrix-keys.db` in state_dir unless set.")
    ] = ""
    answer_timeout_s: Annotated[
        float,
        _help(
            "Seconds without any sign of the agent after which a question ends in an error; more "
            "than the agent's own `deadline_s`, whose word is the better one.",
            gt=0,
        ),
    ] = 330.0


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[agent]`: the agent service, and what a surface needs to reach it (`url`, `token`)."""

    url: Annotated[
        str, _help("Address of the agent for a surface, such as `ws://127.0.0.1:8765/agent_ws/`.")
    ] = ""
    token: Annotated[
        Secret, _help("A surface's bearer token. An agent given only this serves that one surface.")
    ] = Secret("")
    tokens: Annotated[
        dict[str, Secret],
        _help('The agent\'s surfaces and their tokens: `{ matrix = "…" }`; as a variable: JSON.'),
    ] = msgspec.field(default_factory=dict)
    erase_token: Annotated[
        Secret,
        _help("The control plane's token at the agent: with it one can erase and do nothing else."),
    ] = Secret("")
    host: Annotated[str, _help("Address that the agent listens on.")] = "127.0.0.1"
    port: Annotated[Port, _help("Port that the agent listens on; 0 takes any free one.")] = 8765
    database: Annotated[
        str, _help("Database URL of the agent; by default `agent.db` in the state folder.")
    ] = ""
    model: Annotated[
        str,
        _help(
            "The model that answers: `offline`, `local`, `openai:NAME`, or `PROVIDER:NAME` "
            "of another provider that pydantic-ai brings."
        ),
    ] = "offline"
    models: Annotated[
        tuple[str, ...],
        _help(
            "Other models that a run may ask for, by full name; `offline` always may. `base_url` "
            "and `api_key` are for one provider: that of `model`, else of the first here."
        ),
    ] = ()
    base_url: Annotated[str, _help("Base URL of an OpenAI-compatible server, ending in `/v1`.")] = (
        ""
    )
    api_key: Annotated[Secret, _help("Key of the model's provider.")] = Secret("")
    system_prompt: Annotated[
        str, _help("What the model is told before each conversation; empty: a short default.")
    ] = ""
    history_tokens: Annotated[
        int, _help("Most tokens of history and question that a model is sent.", ge=256)
    ] = 16_000
    max_output_tokens: Annotated[int, _help("Most tokens of one answer.", ge=1)] = 2_000
    max_steps: Annotated[int, _help("Most model steps of one run.", ge=1, le=100)] = 16
    deadline_s: Annotated[float, _help("Seconds after which a run ends in an error.", gt=0)] = 300.0


class ChatFileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[chat]`: what applies to every chat of a surface, unless `!settings` or the control plane
    sets it for the surface, a room or a person. Empty text, no list and 0 set nothing."""

    model: Annotated[str, _help("The model that answers; the agent's own unless set.")] = ""
    system_prompt: Annotated[
        str, _help("What the model is told before each conversation; the agent's own unless set.")
    ] = ""
    language: Annotated[
        str, _help("The language of the answers, such as `English` or `Deutsch`.")
    ] = ""
    isolation: Annotated[
        Literal["room", "thread", "user"],
        _help("What shares one memory: the whole room, each thread of it, or each person in it."),
    ] = "room"
    answer_when: Annotated[
        Literal["always", "addressed"],
        _help(
            "Whether every message is answered, or only one that mentions the bot, replies to it, "
            "or is a command."
        ),
    ] = "always"
    streaming: Annotated[bool, _help("Whether an answer is shown while it grows.")] = True
    show_tools: Annotated[
        Literal["none", "names", "results"],
        _help("What is shown of the tools that an answer used."),
    ] = "none"
    tools: Annotated[
        tuple[str, ...], _help("The tools that may be used; all that the agent has unless set.")
    ] = ()
    max_output_tokens: Annotated[
        int, _help("Most tokens of one answer; the agent's own limit unless set.", ge=0)
    ] = 0
    deadline_s: Annotated[
        float,
        _help("Seconds after which an answer ends in an error; the agent's own unless set.", ge=0),
    ] = 0.0
    turns_per_minute: Annotated[
        int, _help("Most questions of one person in a minute; no limit unless set.", ge=0)
    ] = 0
    queued_turns: Annotated[
        int, _help("Most questions of one person that may wait; no limit unless set.", ge=0)
    ] = 0
    tokens_per_day: Annotated[
        int, _help("Most tokens of one person in a day (UTC); no limit unless set.", ge=0)
    ] = 0


class MasterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[master]`: the control plane, and what a surface needs to reach it (`url`, `token`)."""

    url: Annotated[
        str, _help("Address of the control plane for a surface, such as `http://127.0.0.1:8770`.")
    ] = ""
    token: Annotated[
        Secret,
        _help(
            "A surface's token for the control plane. A control plane given it serves the surface "
            "`matrix` by it."
        ),
    ] = Secret("")
    roles_ttl_s: Annotated[
        float,
        _help(
            "Seconds for which a surface lets roles that were given while running count without a "
            "word of the control plane; after that only blocks and the settings file do.",
            gt=0,
        ),
    ] = 300.0
    host: Annotated[str, _help("Address that the control plane listens on.")] = "127.0.0.1"
    port: Annotated[Port, _help("Port that it listens on; 0 takes any free one.")] = 8770
    database: Annotated[
        str, _help("Database URL of the control plane; `master.db` in the state folder unless set.")
    ] = ""
    agent_url: Annotated[
        str, _help("Address of the agent, where people are erased from its memory too.")
    ] = ""
    agent_erase_token: Annotated[
        Secret, _help("The control plane's token at the agent, which may erase and nothing else.")
    ] = Secret("")
    keep_usage_days: Annotated[
        int, _help("Days after which what a run used is deleted; 0 keeps it.", ge=0, le=36_500)
    ] = 400
    keep_audit_days: Annotated[
        int,
        _help("Days after which a line of the audit log is deleted; 0 keeps it.", ge=0, le=36_500),
    ] = 400
    keep_requests_days: Annotated[
        int,
        _help(
            "Days for which a change that is asked for again under its name is not made again.",
            ge=1,
            le=3_650,
        ),
    ] = 14


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": General,
    "matrix": MatrixSettings,
    "agent": AgentSettings,
    "chat": ChatFileSettings,
    "master": MasterSettings,
}

S = TypeVar("S", bound=msgspec.Struct)


class Source(msgspec.Struct, frozen=True):
    """Where settings come from: the parsed file (and its path, for errors) and the environment."""

    file: dict[str, Any]
    path: Path | None
    env: Mapping[str, str]


def find_file(explicit: Path | None, env: Mapping[str, str]) -> Path | None:
    """The settings file: `--config`, else `./antiphon.toml`, else the user's configuration folder.

    Raises SettingsError when an explicitly named file is not there."""
    if explicit is not None:
        if not explicit.is_file():
            raise SettingsError(f"There is no settings file at {explicit}. Give --config a file.")
        return explicit
    config_home = env.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    for candidate in (Path(FILE_NAME), Path(config_home) / "antiphon" / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def read(explicit: Path | None = None, env: Mapping[str, str] | None = None) -> Source:
    """Reads the file and checks its section and setting names; values are checked by `section`."""
    env = os.environ if env is None else env
    path = find_file(explicit, env)
    if path is None:
        return Source({}, None, env)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Can't read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no valid TOML: {error}.") from error
    for key, value in table.items():
        _check_name(path, key, value)
    return Source(table, path, env)


def _check_name(path: Path, key: str, value: Any) -> None:
    top = General.__struct_fields__
    if key in SECTIONS and isinstance(value, dict):
        known = SECTIONS[key].__struct_fields__
        for name in value:
            if name not in known:
                raise SettingsError(
                    f"{path}: [{key}] has no setting {name!r}. Known: {', '.join(known)}."
                )
    elif key not in top:
        sections = ", ".join(f"[{s}]" for s in SECTIONS if s)
        raise SettingsError(
            f"{path}: there is no setting {key!r}. Known: {', '.join(top)}, and {sections}."
        )


def section(source: Source, name: str, struct: type[S], *, only: tuple[str, ...] = ()) -> S:
    """The settings of one section, from `source`; with `only`, just these, the rest by default
    (a process reads of another one's section no more than its address and token).

    Raises SettingsError naming the setting, where it came from and what is allowed; a secret's
    value is never shown."""
    raw: dict[str, Any] = {}
    origin: dict[str, str] = {}
    table = source.file if not name else source.file.get(name, {})
    hints = get_type_hints(struct, include_extras=False)
    for field in only or struct.__struct_fields__:
        if field in table:
            raw[field], origin[field] = table[field], str(source.path)
        variable = variable_name(name, field)
        file_variable = variable + "_FILE"
        if variable in source.env:
            raw[field] = _from_text(hints[field], source.env[variable], variable)
            origin[field] = variable
        elif file_variable in source.env and is_secret(hints[field]):
            raw[field] = _read_secret(source.env[file_variable], hints[field], file_variable)
            origin[field] = file_variable
    for field, value in raw.items():
        try:
            msgspec.convert({field: value}, struct, dec_hook=_dec_hook)
        except msgspec.ValidationError as error:
            full = f"[{name}] {field}" if name else field
            reason = str(error).split(" - at ")[0]
            if hints[field] is bool:
                reason = "Expected true or false"
            raise SettingsError(f"{origin[field]}: {full}: {reason}.") from error
    return msgspec.convert(raw, struct, dec_hook=_dec_hook)


def variable_name(section_name: str, field: str) -> str:
    """The environment variable of a setting: `ANTIPHON_AGENT__TOKEN`, `ANTIPHON_STATE_DIR`."""
    middle = f"{section_name.upper()}__" if section_name else ""
    return f"{PREFIX}{middle}{field.upper()}"


def is_secret(hint: object) -> bool:
    """Whether a setting of this type must be hidden, and may come from a `…_FILE`."""
    return hint in (Secret, dict[str, Secret])


def _read_secret(path: str, hint: object, variable: str) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{variable}: can't read the file {path}: {error}.") from error
    return _from_text(hint, text, variable)


TRUTH = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
"""What a variable of a setting that is true or false may say."""


def _from_text(hint: object, text: str, variable: str) -> Any:
    """A variable's text as the value that a settings file would hold."""
    if hint is tuple[str, ...] or hint == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint == dict[str, Secret]:
        try:
            return msgspec.json.decode(text.encode(), type=dict[str, str])
        except msgspec.DecodeError:
            raise SettingsError(f'{variable} must be JSON such as {{"matrix": "TOKEN"}}.') from None
    if hint is bool:
        return TRUTH.get(text.strip().lower(), text)
    if hint in (int, float):
        try:
            return int(text) if hint is int else float(text)
        except ValueError:
            return text
    return text


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is Secret:
        if not isinstance(value, str):
            raise msgspec.ValidationError("Expected text")
        return Secret(value)
    raise NotImplementedError(kind)
