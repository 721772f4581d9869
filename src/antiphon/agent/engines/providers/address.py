"""Where an OpenAI-compatible server is, and the key for it. Pure but for one variable."""

from __future__ import annotations

import os

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings import AgentSettings, Secret

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "no-key-set"
"""What a server gets whose address is set without a key: clients insist on sending one."""


class Address(msgspec.Struct, frozen=True):
    """Base URL (without a slash at its end) and key; `is_openai`: OpenAI's own service."""

    url: str
    key: Secret
    is_openai: bool


def find(settings: AgentSettings) -> Address:
    """The address from the settings. Only for OpenAI itself the variable OPENAI_API_KEY stands in
    for a missing key: that key must never reach another server.

    Raises SettingsError for an address that is none, and where OpenAI would get no key."""
    url = settings.base_url.rstrip("/") or OPENAI_URL
    if not url.startswith(("http://", "https://")):
        raise SettingsError(
            f"[agent] base_url: {settings.base_url!r} is no address. Write http://HOST:PORT/v1 or "
            "https://HOST/v1."
        )
    if url != OPENAI_URL:
        return Address(url, settings.api_key or Secret(NO_KEY), is_openai=False)
    key = settings.api_key or Secret(os.environ.get("OPENAI_API_KEY", ""))
    if not key:
        raise SettingsError(
            "[agent] api_key: OpenAI needs a key. Set it (or ANTIPHON_AGENT__API_KEY), or set "
            "`base_url` to a server that needs none."
        )
    return Address(url, key, is_openai=True)
