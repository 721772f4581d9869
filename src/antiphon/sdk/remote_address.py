"""Where the control plane is: reading the address and the token that a person wrote. No I/O."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from antiphon.errors import SettingsError

_EXAMPLE = "Write something like http://127.0.0.1:8770 into ANTIPHON_MASTER__URL."


def master_url(text: str) -> str:
    """The base URL of the control plane, without a slash at its end. Raises SettingsError, which
    never shows a password that stands in the URL."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(
            f"The address of the control plane can't be read ({error}). {_EXAMPLE}"
        ) from error
    if parts.scheme not in ("http", "https"):
        raise SettingsError(
            "The address of the control plane begins with http or https, not "
            f"{parts.scheme!r}. {_EXAMPLE}"
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            "The address of the control plane holds a user or password; the token belongs into "
            "ANTIPHON_MASTER__TOKEN."
        )
    if not parts.hostname or port == 0 or any(c.isspace() for c in text):
        raise SettingsError(
            f"The address of the control plane {text!r} names no server. {_EXAMPLE}"
        )
    if parts.query or parts.fragment:
        raise SettingsError(
            f"The address of the control plane {text!r} ends after its path. {_EXAMPLE}"
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def master_token(text: str) -> str:
    """The token, as it can stand in a header. Raises SettingsError, which does not show it."""
    if not text:
        raise SettingsError(
            "There is no token for the control plane: make one with `antiphon master token` and "
            "set ANTIPHON_MASTER__TOKEN."
        )
    if not all("!" <= character <= "~" for character in text):
        raise SettingsError(
            "The token for the control plane (ANTIPHON_MASTER__TOKEN) may hold only visible ASCII "
            "characters and no spaces."
        )
    return text
