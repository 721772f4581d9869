"""Agent and adapter as a pair: their commands, the port and the token between them.

The token is made at random once, kept in the state folder (0600) and given to the children by
file name, so that it stands in no environment and no process list.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from antiphon.clock import Chance
from antiphon.errors import SettingsError, StateError
from antiphon.run.child import ChildSpec
from antiphon.settings import AgentSettings, Secret, Source, variable_name

SURFACE = "matrix"
"""The name under which an agent with several surfaces knows the adapter."""

TOKEN_FILE = "agent.token"  # noqa: S105 - the name of its file
ADDRESS_FILE = "agent.url"


class Link(msgspec.Struct, frozen=True):
    """How the adapter reaches the agent: where it listens and where the token is kept."""

    host: str
    port: int
    token_file: Path

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        bracketed = f"[{host}]" if ":" in host else host
        return f"ws://{bracketed}:{self.port}/agent_ws/"


def link(source: Source, settings: AgentSettings, state: Path, chance: Chance) -> Link:
    """The link of this state folder. Host, port and token from the settings are kept; what is not
    set is made: any free port, a random token. The address is written down for `arranged`.

    Raises SettingsError where the settings name an agent elsewhere, StateError where the token
    can't be kept."""
    if settings.url:
        raise SettingsError(
            "[agent] url names an agent elsewhere, and this command starts one of its own. "
            "Remove url, or start the adapter alone with `antiphon matrix run`."
        )
    if settings.tokens and not settings.token and SURFACE not in settings.tokens:
        raise SettingsError(
            f"[agent] tokens has no token for the surface {SURFACE!r}. Add one, or remove tokens."
        )
    given = settings.token or settings.tokens.get(SURFACE)
    token_file = keep_secret(state / TOKEN_FILE, given.reveal() if given else None, chance)
    port = settings.port if is_set(source, "agent", "port") else 0
    made = Link(settings.host, port or free_port(settings.host), token_file)
    keep_secret(state / ADDRESS_FILE, made.url, chance)
    return made


def arranged(state: Path) -> AgentSettings | None:
    """Address and token of the agent that the last `antiphon run` on this state started; None
    where they can't be read. Whether it still runs, its lock tells."""
    try:
        url, token = (
            (state / name).read_text(encoding="utf-8").strip()
            for name in (ADDRESS_FILE, TOKEN_FILE)
        )
    except (OSError, UnicodeDecodeError):
        return None
    return AgentSettings(url=url, token=Secret(token)) if url and token else None


def is_set(source: Source, section: str, name: str) -> bool:
    """Whether file or environment give this setting a value (be it the default's)."""
    variable = variable_name(section, name)
    in_file = name in (source.file.get(section, {}) if section else source.file)
    return in_file or variable in source.env or f"{variable}_FILE" in source.env


def keep_secret(path: Path, value: str | None, chance: Chance) -> Path:
    """A file (0600) with this secret; without `value` the one that is kept there already, or a
    new random one. Raises StateError where the file can't be read or written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if value is None and path.is_file() and path.read_text(encoding="utf-8").strip():
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                path.chmod(0o600)
            return path
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write((value or chance.token()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise StateError(
            f"Can't keep a secret in {path}: {error.strerror}. "
            "Make the folder writable or set ANTIPHON_STATE_DIR to another one."
        ) from error
    return path


def free_port(host: str) -> int:
    """A port on `host` that nothing listens on now. Raises SettingsError for a host that is not
    ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise SettingsError(
                f"[agent] host: can't listen on {host!r}: {error.strerror}. "
                "Give an address of this machine, such as 127.0.0.1."
            ) from error
        port: int = probe.getsockname()[1]
        return port


def agent_spec(config: Path | None, env: Mapping[str, str], between: Link) -> ChildSpec:
    """`antiphon agent serve` with its side of the link."""
    ours = {
        "ANTIPHON_AGENT__HOST": between.host,
        "ANTIPHON_AGENT__PORT": str(between.port),
        "ANTIPHON_AGENT__TOKEN_FILE": str(between.token_file),
    }
    return ChildSpec("agent", _command(config, "agent", "serve"), _env(env, ours))


def adapter_spec(config: Path | None, env: Mapping[str, str], between: Link) -> ChildSpec:
    """`antiphon matrix run` with its side of the link."""
    ours = {
        "ANTIPHON_AGENT__URL": between.url,
        "ANTIPHON_AGENT__TOKEN_FILE": str(between.token_file),
    }
    return ChildSpec("Matrix adapter", _command(config, "matrix", "run"), _env(env, ours))


def _command(config: Path | None, *words: str) -> tuple[str, ...]:
    chosen = ("--config", str(config.absolute())) if config else ()
    return (sys.executable, "-m", "antiphon", *chosen, "--die-with-parent", *words)


def _env(env: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    # A token as a variable would win over the file, whose content is the same.
    kept = {key: value for key, value in env.items() if key != "ANTIPHON_AGENT__TOKEN"}
    return {**kept, **ours, "PYTHONUNBUFFERED": "1"}
