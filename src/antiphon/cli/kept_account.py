"""Where `antiphon matrix provision` keeps the bot's account: its settings file, and a file of its
own for the password where one was named. What is there already is never overwritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from antiphon import settings
from antiphon.adapter.matrix.transport import address
from antiphon.adapter.matrix.transport.login import is_same_user
from antiphon.cli.answers import secret_file
from antiphon.errors import SettingsError
from antiphon.run import settings_file
from antiphon.settings import MatrixSettings, Secret

_SECRETS = tuple(
    settings.variable_name("matrix", name) + end
    for name in ("password", "access_token")
    for end in ("", "_FILE")
)


class KeptAccount:
    """The account of one settings file; a `Keeper` for the adapter's `provision`.

    `values` are what a new file holds besides the password; `password_file` takes the password in
    its place. Raises SettingsError at once when the file that is there is another account's."""

    def __init__(
        self,
        path: Path,
        values: Mapping[tuple[str, str], Any],
        *,
        password_file: Path | None,
        env: Mapping[str, str],
    ):
        self.path = path
        self.password_file = password_file
        self._values = dict(values)
        self._was_there = path.exists()
        self._written: list[Path] = []
        self._known = self._read(env)

    @property
    def is_written(self) -> bool:
        """Whether the settings file was written in this run."""
        return self.path in self._written

    def known(self) -> MatrixSettings | None:
        """See `Keeper`."""
        return self._known

    def keep(self, user_id: str, password: Secret | None) -> None:
        """See `Keeper`. The password is on the disk first."""
        if password is not None and self.password_file is not None:
            if not self.password_file.exists():
                text = password.reveal() + "\n"
                settings_file.write_private(self.password_file, text, force=False)
                self._written.append(self.password_file)
        elif password is not None:
            self._values[("matrix", "password")] = password
        if not self._was_there and self.path not in self._written:
            values = {**self._values, ("matrix", "user"): user_id}
            settings_file.write_private(self.path, settings_file.settings_text(values), force=False)
            self._written.append(self.path)

    def take_back(self) -> None:
        """See `Keeper`."""
        for path in self._written:
            path.unlink(missing_ok=True)
        self._written.clear()

    def _read(self, env: Mapping[str, str]) -> MatrixSettings | None:
        own_file = self._password()
        if not self._was_there:
            token = self._values.get(("matrix", "access_token"))
            if token is not None:
                return MatrixSettings(access_token=token)
            return MatrixSettings(password=own_file) if own_file is not None else None
        secrets = {name: env[name] for name in _SECRETS if name in env}
        source = settings.read(self.path, secrets)
        found = settings.section(source, "matrix", MatrixSettings)
        self._check(found)
        if own_file is not None:
            return msgspec.structs.replace(found, password=own_file, access_token=Secret(""))
        if found.password or found.access_token:
            return found
        if self.password_file is None:
            raise SettingsError(
                f"{self.path} is there already and holds no password. Give --password-file FILE "
                "(the one that the bot reads by ANTIPHON_MATRIX__PASSWORD_FILE), or --config-out "
                "another name."
            )
        return None

    def _password(self) -> Secret | None:
        there = self.password_file is not None and self.password_file.exists()
        return secret_file(self.password_file) if there else None

    def _check(self, found: MatrixSettings) -> None:
        wanted_user = str(self._values[("matrix", "user")])
        wanted_server = str(self._values[("matrix", "homeserver")])
        if not found.user or not is_same_user(found.user, wanted_user):
            whose = f"is for {found.user}" if found.user else "names no account"
            raise SettingsError(
                f"{self.path} is there already and {whose}, not {wanted_user}; it was left as it "
                "is. Give --config-out another name."
            )
        if address.base_url(found.homeserver) != address.base_url(wanted_server):
            raise SettingsError(
                f"{self.path} is there already, for {found.user} at {found.homeserver}, not at "
                f"{wanted_server}. Give --homeserver {found.homeserver}, or --config-out another "
                "name."
            )
