"""The demo's folder: what it keeps between two starts, and the settings that it writes for its
bot. Everything in it is of mode 0600 in a folder of mode 0700."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from antiphon.clock import Chance
from antiphon.errors import StateError
from antiphon.run.pair import keep_secret
from antiphon.run.settings_file import settings_text, write_private
from antiphon.settings import AgentSettings, General, Secret

BOT = "antiphon"
PERSON = "you"

LOG_KEPT_BYTES = 5_000_000


class Rooms(msgspec.Struct, frozen=True):
    """The rooms that the demo has opened, oldest first, and which of them is talked in."""

    ids: tuple[str, ...] = ()
    current: int = 0

    @property
    def room(self) -> str | None:
        """The room that is talked in; None when there is none yet."""
        return self.ids[self.current] if 0 <= self.current < len(self.ids) else None

    def with_new(self, room_id: str) -> Rooms:
        """With another room, which is then the one that is talked in."""
        return Rooms((*self.ids, room_id), len(self.ids))

    def at(self, index: int) -> Rooms:
        """Talking in the room at `index`."""
        return Rooms(self.ids, index)


class DemoFolder:
    """Where the demo keeps its things; made by its first use."""

    def __init__(self, path: Path, chance: Chance):
        self.path = path
        self._chance = chance

    @property
    def homeserver(self) -> Path:
        """Synapse's own folder."""
        return self.path / "homeserver"

    @property
    def person(self) -> Path:
        """Where the login of the person at the terminal is kept."""
        return self.path / PERSON

    @property
    def log(self) -> Path:
        """Log lines of agent and adapter."""
        return self.path / "demo.log"

    @property
    def settings(self) -> Path:
        """The bot's settings file, good for other commands too (`antiphon --config …`)."""
        return self.path / "antiphon.toml"

    def password(self, name: str) -> Secret:
        """The password of one of the demo's users, random and then kept. Raises StateError."""
        file = keep_secret(self.path / f"{name}.password", None, self._chance)
        return Secret(file.read_text(encoding="utf-8").strip())

    def rooms(self) -> Rooms:
        """The rooms kept from earlier. Raises StateError when they can't be read."""
        file = self.path / "rooms.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Rooms)
        except FileNotFoundError:
            return Rooms()
        except (OSError, msgspec.MsgspecError) as error:
            raise StateError(
                f"Can't read {file}: {error}. Delete it to open a new room."
            ) from error

    def keep_rooms(self, rooms: Rooms) -> None:
        """Keeps them for the next start. Raises StateError."""
        file = self.path / "rooms.json"
        fresh = file.with_name(f".rooms.{secrets.token_hex(4)}")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(msgspec.json.encode(rooms))
            fresh.replace(file)
        except OSError as error:
            raise StateError(f"Can't write {file}: {error.strerror}.") from error

    def write_settings(
        self, general: General, agent: AgentSettings, *, model: str, homeserver: str, server: str
    ) -> Path:
        """Writes the bot's settings for this start: its account on this homeserver, and the model
        with what was configured for it. Everybody on the homeserver may talk to it."""
        values: dict[tuple[str, str], Any] = {
            ("", "state_dir"): str(self.path),
            ("", "log_level"): general.log_level,
            ("matrix", "homeserver"): homeserver,
            ("matrix", "user"): f"@{BOT}:{server}",
            ("matrix", "password"): self.password(BOT),
            ("matrix", "allow"): (f"@*:{server}",),
            ("matrix", "admins"): (f"@{PERSON}:{server}",),
            ("matrix", "display_name"): "Antiphon",
            ("agent", "model"): model,
            **_model_settings(agent),
        }
        write_private(self.settings, settings_text(values), force=True)
        return self.settings

    def trim_log(self) -> None:
        """Begins the log anew when it has become large."""
        if self.log.is_file() and self.log.stat().st_size > LOG_KEPT_BYTES:
            self.log.unlink()


_OWN = ("url", "token", "tokens", "host", "port", "database", "model")


def _model_settings(agent: AgentSettings) -> Mapping[tuple[str, str], Any]:
    """What was configured for the model, without what makes an agent another's."""
    defaults = AgentSettings()
    return {
        ("agent", name): getattr(agent, name)
        for name in AgentSettings.__struct_fields__
        if name not in _OWN and getattr(agent, name) != getattr(defaults, name)
    }
