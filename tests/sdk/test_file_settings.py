"""What the settings file says about chats."""

import pytest

from antiphon.core.chat_settings import SETTINGS, ChatSettings, merge
from antiphon.errors import SettingsError
from antiphon.sdk.file_settings import base_of
from antiphon.settings import ChatFileSettings, Source, section


def test_the_file_knows_every_setting_of_a_chat() -> None:
    assert set(ChatFileSettings.__struct_fields__) == set(SETTINGS)


def test_what_the_file_leaves_alone_sets_nothing() -> None:
    assert base_of(ChatFileSettings()) == {}
    assert merge((), base_of(ChatFileSettings())) == ChatSettings()


def test_what_the_file_sets_is_the_widest_layer() -> None:
    source = Source(
        {"chat": {"isolation": "user", "tools": ["clock"], "tokens_per_day": 5}},
        None,
        {"ANTIPHON_CHAT__STREAMING": "off", "ANTIPHON_CHAT__LANGUAGE": "Deutsch"},
    )
    base = base_of(section(source, "chat", ChatFileSettings))
    assert merge((), base) == ChatSettings(
        isolation="user",
        tools=("clock",),
        tokens_per_day=5,
        streaming=False,
        language="Deutsch",
    )


def test_a_wrong_value_is_told_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match=r"\[chat\] `deadline_s` must be a number from 1"):
        base_of(ChatFileSettings(deadline_s=0.5))
