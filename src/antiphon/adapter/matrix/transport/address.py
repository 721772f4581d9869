"""Where the homeserver is: what a person may write as `homeserver`, and `.well-known` discovery.

No I/O: the request itself is made by `http`.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from antiphon.adapter.matrix.transport import json_body
from antiphon.errors import SettingsError

_SERVER_NAME = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{0,62}")
_HINT = "Write it like https://matrix.example.org (setting [matrix] homeserver)."


def is_server_name(homeserver: str) -> bool:
    """Whether `homeserver` is a bare server name such as `example.org`, to be discovered."""
    return _SERVER_NAME.fullmatch(homeserver) is not None


def base_url(homeserver: str) -> str:
    """`homeserver` as a base URL: no slash at the end, and for a bare server name `https://NAME`.

    Raises SettingsError, with what to write instead, for anything that is neither."""
    text = homeserver.strip()
    if not text:
        raise SettingsError(f"No homeserver is set. {_HINT}")
    if is_server_name(text):
        return f"https://{text}"
    if "://" not in text:
        if text.startswith("@"):
            raise SettingsError(f"The homeserver {text!r} is a user ID, no address. {_HINT}")
        raise SettingsError(f"The homeserver {text!r} lacks https:// or http:// in front. {_HINT}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingsError(f"The homeserver {text!r} is no valid URL. {_HINT}") from None
    if parts.scheme not in ("http", "https"):
        raise SettingsError(
            f"The homeserver's address must begin with https:// or http://, not {parts.scheme}://. "
            f"{_HINT}"
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"The homeserver's address must hold no user or password. {_HINT}")
    if not parts.hostname or any(c.isspace() for c in text) or port == 0:
        raise SettingsError(f"The homeserver {text!r} names no host. {_HINT}")
    if parts.query or parts.fragment:
        raise SettingsError(f"The homeserver {text!r} must end before the ? or #. {_HINT}")
    path = re.sub(r"/_matrix(/.*)?$", "", parts.path).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def discovered(server_name: str, status: int, body: bytes) -> str:
    """The base URL that `https://NAME/.well-known/matrix/client` gives (spec: client-server API,
    "Well-known URIs"), or `https://NAME` when there is none (404).

    Raises SettingsError when the answer exists and can't be used."""
    if status == 404:
        return f"https://{server_name}"
    where = f"https://{server_name}/.well-known/matrix/client"
    found = None
    if status == 200:
        try:
            document = json_body.decode(body)
        except json_body.NotJsonError:
            document = None
        section = document.get("m.homeserver") if isinstance(document, dict) else None
        found = section.get("base_url") if isinstance(section, dict) else None
    if not isinstance(found, str) or "://" not in found:
        raise SettingsError(
            f"{where} names no homeserver (HTTP {status}). Set [matrix] homeserver to the "
            "homeserver's own URL, such as https://matrix.example.org."
        )
    try:
        return base_url(found)
    except SettingsError as error:
        raise SettingsError(f"{where} names a homeserver that can't be used: {error}") from error
