"""Where the key of the key store comes from: the settings, else the system's keyring, else a file
of mode 0600 in the state folder. A key is only ever made for a store that is not there yet."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from antiphon.adapter.matrix.crypto.vault import KEY_BYTES
from antiphon.db import private_file
from antiphon.errors import StateError
from antiphon.settings import Secret

FILE = "matrix-keys.key"
SERVICE = "antiphon"

Source = Literal["setting", "keyring", "file"]


class StoreKey(msgspec.Struct, frozen=True):
    """The key, hidden from logs, and where it came from."""

    key: Secret
    source: Source

    def reveal(self) -> bytes:
        """The 32 bytes."""
        return base64.b64decode(self.key.reveal())


class Keyring(Protocol):
    """Where a desktop or a server keeps passwords. Both may wait for a person to unlock it."""

    def get(self, name: str) -> str | None:
        """What is kept under `name`; None where nothing is, or there is no keyring."""
        ...

    def put(self, name: str, value: str) -> bool:
        """Keeps it; False where it can't."""
        ...


class SystemKeyring:
    """The one that the package `keyring` finds; a machine without one is no error."""

    def get(self, name: str) -> str | None:
        try:
            import keyring

            return keyring.get_password(SERVICE, name)
        except Exception:  # noqa: BLE001 - a backend may raise anything; all mean: no keyring
            return None

    def put(self, name: str, value: str) -> bool:
        try:
            import keyring

            keyring.set_password(SERVICE, name, value)
        except Exception:  # noqa: BLE001 - as above
            return False
        return self.get(name) == value


async def store_key(
    state: Path, user_id: str, setting: Secret, *, made_with: str | None, keyring: Keyring
) -> StoreKey:
    """The key of the key store of `user_id` in the folder `state`.

    `made_with`: the source of the key of the store that is there (`keystore.look`); None where
    there is none, and only then a key is made and kept. A file in the folder goes before the
    keyring. Raises StateError where the key of a store that is there is gone."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, _found, state, user_id, setting, made_with, keyring)


def _found(
    state: Path, user_id: str, setting: Secret, made_with: str | None, keyring: Keyring
) -> StoreKey:
    if setting:
        return _key(_stretched(setting.reveal(), user_id), "setting")
    path = state / FILE
    body = private_file.read(path)
    if body is not None:
        return _key(_read(body, f"The file {path}"), "file")
    kept = keyring.get(user_id)
    if kept is not None:
        return _key(_read(kept.encode(), f"The entry of {user_id} in the keyring"), "keyring")
    if made_with is not None:
        raise StateError(_GONE[made_with].format(path=path, user=user_id), code="store_key_gone")
    made = os.urandom(KEY_BYTES)
    text = base64.b64encode(made).decode()
    if keyring.put(user_id, text):
        return _key(made, "keyring")
    private_file.write(path, text.encode() + b"\n")
    return _key(made, "file")


_OR_NEW = "Without it, move the key store away: the bot then becomes a new device."

_GONE = {
    "setting": "The key store was made with a key from the settings, and they name none: set the "
    f"same again. {_OR_NEW}",
    "keyring": "The key of the key store was in the system's keyring, which does not give it: "
    f"unlock it, with the entry of {{user}}. {_OR_NEW}",
    "file": f"The key of the key store is gone: put {{path}} back. {_OR_NEW}",
}


def _stretched(text: str, user_id: str) -> bytes:
    # The salt is no secret and must be the same at every start; the text may be a weak one.
    salt = f"antiphon key store {user_id}".encode()
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << 15, r=8, p=1).derive(text.encode())


def _read(body: bytes, what: str) -> bytes:
    try:
        key = base64.b64decode(body.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise StateError(
            f"{what} holds no key of a key store: put the right one back. {_OR_NEW}",
            code="store_key_gone",
        )
    return key


def _key(key: bytes, source: Source) -> StoreKey:
    return StoreKey(Secret(base64.b64encode(key).decode()), source)
