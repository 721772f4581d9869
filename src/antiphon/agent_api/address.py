"""Where the agent is: reading the address and the token that a person wrote. No I/O."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from antiphon.errors import SettingsError

PATH = "/agent_ws/"

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_EXAMPLE = "Write something like ws://127.0.0.1:8765/agent_ws/ into ANTIPHON_AGENT__URL."


def agent_url(text: str) -> str:
    """The WebSocket URL of the agent: http(s) becomes ws(s), a missing path `/agent_ws/`.

    Raises SettingsError, which never shows a password that stands in the URL."""
    if not text:
        raise SettingsError(f"There is no address of the agent. {_EXAMPLE}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"The address of the agent can't be read ({error}). {_EXAMPLE}") from (
            error
        )
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise SettingsError(
            f"The address of the agent begins with ws, wss, http or https, not "
            f"{parts.scheme!r}. {_EXAMPLE}"
        )
    if parts.username is not None or parts.password is not None:
        raise SettingsError(
            "The address of the agent holds a user or password; the token belongs into "
            "ANTIPHON_AGENT__TOKEN."
        )
    if not parts.hostname or port == 0 or any(c.isspace() for c in text):
        raise SettingsError(f"The address of the agent {text!r} names no server. {_EXAMPLE}")
    if parts.query or parts.fragment:
        raise SettingsError(f"The address of the agent {text!r} ends after its path. {_EXAMPLE}")
    path = PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, "", ""))


def agent_token(text: str) -> str:
    """The token, as it can stand in a header. Raises SettingsError, which does not show it."""
    if not text:
        raise SettingsError("There is no token for the agent: set ANTIPHON_AGENT__TOKEN.")
    if not all("!" <= character <= "~" for character in text):
        raise SettingsError(
            "The token for the agent (ANTIPHON_AGENT__TOKEN) may hold only visible ASCII "
            "characters and no spaces."
        )
    return text
