"""Signing in: which login to use, and the file that keeps it, so that the bot stays one device.

A device is a namespace of transaction ids and the owner of keys: it is kept as long as possible.
`sign_in` decides and asks; `load` and `save` are the caller's means to keep its answer.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.db import private_file
from antiphon.errors import LoginError, SettingsError, StateError, TokenRevokedError
from antiphon.settings import MatrixSettings, Secret

FILE_NAME = "matrix-login.json"
DEVICE_NAME = "Antiphon"


class StoredLogin(msgspec.Struct, frozen=True):
    """A login to use again. `homeserver` is where its token may be sent: nowhere else."""

    user_id: str
    device_id: str
    access_token: Secret
    homeserver: str = ""


async def sign_in(
    client: MatrixClient,
    settings: MatrixSettings,
    stored: StoredLogin | None,
    *,
    known_device: str | None = None,
) -> StoredLogin:
    """Signs `client` in and gives the login to store; the client's token is set.

    In this order: what `resume` finds; the password, with the stored device's id if it is of the
    same user, else with `known_device` (of the account, from where else it is known). Raises
    LoginError when the homeserver accepts none of it or it is another user's, SettingsError when
    the settings name no user or neither password nor token."""
    found = await resume(client, settings, stored)
    if found is not None:
        return found
    if stored is not None and not is_same_user(settings.user, stored.user_id):
        stored = None
    if not settings.password:
        why = "The stored login no longer works" if stored is not None else "There is no login yet"
        raise SettingsError(
            f"{why} for {settings.user}, and no password is set. "
            "Set [matrix] password or access_token."
        )
    login = await client.login_password(
        settings.user,
        settings.password,
        device_id=stored.device_id if stored is not None else known_device,
        device_name=DEVICE_NAME,
    )
    if not is_same_user(settings.user, login.user_id):
        raise LoginError(
            f"The homeserver logged us in as {login.user_id}, not as {settings.user}. "
            "Set [matrix] user to the account's own ID."
        )
    return StoredLogin(login.user_id, login.device_id, login.access_token, client.homeserver)


async def resume(
    client: MatrixClient, settings: MatrixSettings, stored: StoredLogin | None
) -> StoredLogin | None:
    """Signs `client` in with a login that exists: the access token from the settings, else the
    stored token, if it is of the same user and homeserver and still works. None where only
    another login would help; nothing is changed anywhere then. Raises as `sign_in`."""
    if settings.access_token:
        return await _by_token(client, settings)
    if not settings.user:
        raise SettingsError("No account is set. Set [matrix] user and password, or access_token.")
    if (
        stored is None
        or not is_same_user(settings.user, stored.user_id)
        or stored.homeserver != client.homeserver
    ):
        return None
    client.use_token(stored.access_token)
    try:
        who = await client.whoami()
    except TokenRevokedError:
        client.use_token(None)
        return None
    if (who.user_id, who.device_id) == (stored.user_id, stored.device_id):
        return stored
    client.use_token(None)
    return None


async def _by_token(client: MatrixClient, settings: MatrixSettings) -> StoredLogin:
    client.use_token(settings.access_token)
    try:
        who = await client.whoami()
    except TokenRevokedError:
        client.use_token(None)
        raise LoginError(
            "The homeserver does not accept [matrix] access_token. Set a new one, or a password."
        ) from None
    if settings.user and not is_same_user(settings.user, who.user_id):
        client.use_token(None)
        raise LoginError(
            f"[matrix] access_token belongs to {who.user_id}, not to {settings.user}. "
            "Correct one of the two."
        )
    if who.device_id is None:
        client.use_token(None)
        raise LoginError(
            "[matrix] access_token belongs to no device, so sends could not be repeated safely. "
            "Use the token of a normal login, or a password."
        )
    return StoredLogin(who.user_id, who.device_id, settings.access_token, client.homeserver)


def is_same_user(setting: str, user_id: str) -> bool:
    """Whether the setting (a user ID, or a localpart with or without `@`) means `user_id`."""
    wanted, found = setting.strip().removeprefix("@").lower(), user_id.removeprefix("@").lower()
    return wanted == (found if ":" in wanted else found.partition(":")[0])


class _OnDisk(msgspec.Struct):
    user_id: str
    device_id: str
    access_token: str
    homeserver: str = ""


def load(state: Path) -> StoredLogin | None:
    """The login kept in the state folder; None when there is none.

    Raises StateError when the file can't be read: going on without it would make a new device,
    which must be a person's decision."""
    file = state / FILE_NAME
    body = private_file.read(file)
    if body is None:
        return None
    try:
        kept = msgspec.json.decode(body, type=_OnDisk)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # `from None`: the decoder's message could quote the token.
        raise StateError(
            f"{file} is damaged. Restore it from a backup, or delete it: the bot then logs in "
            "as a new device."
        ) from None
    return StoredLogin(kept.user_id, kept.device_id, Secret(kept.access_token), kept.homeserver)


def save(state: Path, login: StoredLogin) -> None:
    """Keeps a login in the state folder (made with mode 0700 where needed), in a file of mode
    0600, atomically and synced. Raises StateError when that can't be done."""
    body = msgspec.json.encode(
        _OnDisk(login.user_id, login.device_id, login.access_token.reveal(), login.homeserver)
    )
    private_file.write(state / FILE_NAME, body + b"\n")
