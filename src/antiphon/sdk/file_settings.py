"""What the settings file says about chats (`[chat]`): the widest layer of their settings. Pure."""

from __future__ import annotations

from typing import Any

from antiphon.core.chat_settings import ChatSettings, check
from antiphon.errors import SettingsError
from antiphon.settings import ChatFileSettings

_NOTHING = ChatFileSettings()


def base_of(chat: ChatFileSettings) -> dict[str, Any]:
    """The settings that the file sets, by the keys of `core.chat_settings`; what is left as it was
    is left out. Raises SettingsError naming the setting and what is allowed."""
    found: dict[str, Any] = {}
    for key in ChatSettings.__struct_fields__:
        value = getattr(chat, key)
        if value == getattr(_NOTHING, key):
            continue
        try:
            found[key] = check(key, value)
        except SettingsError as error:
            raise SettingsError(f"[chat] {error.message}") from error
    return found
