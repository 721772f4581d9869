"""Who may speak to the agent: bearer tokens and the surfaces that they name."""

from __future__ import annotations

import hashlib
import hmac

from antiphon.errors import SettingsError
from antiphon.settings import AgentSettings, Secret

DEFAULT_SURFACE = "default"


class Tokens:
    """The surfaces by their tokens. Raises SettingsError when there is none, or two are equal."""

    def __init__(self, settings: AgentSettings):
        named: dict[str, Secret] = dict(settings.tokens)
        if not named and settings.token:
            named = {DEFAULT_SURFACE: settings.token}
        self._digests: dict[str, bytes] = {}
        for surface, token in named.items():
            if not token or not surface or len(surface) > 64:
                raise SettingsError(
                    "[agent] tokens: each needs a name of up to 64 characters and a token."
                )
            self._digests[surface] = _digest(token.reveal())
        if not self._digests:
            raise SettingsError(
                "The agent has no token, so nobody could use it. Set ANTIPHON_AGENT__TOKEN (or "
                "[agent] tokens, one for each surface) to a long random text, such as the output "
                "of `openssl rand -hex 32`."
            )
        if len(set(self._digests.values())) < len(self._digests):
            raise SettingsError("[agent] tokens: two surfaces have the same token. Change one.")

    def surface(self, authorization: str | None) -> str | None:
        """The surface that an Authorization header names, or None. Takes the same time for every
        wrong token."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        given = _digest(token.strip())
        found: str | None = None
        for surface, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = surface
        return found if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
