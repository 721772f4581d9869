"""The settings file that `antiphon init` writes, and the table it is made from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import settings
from antiphon.errors import SettingsError
from antiphon.run.settings_file import WRITTEN_SECTIONS, settings_text, write_private
from antiphon.run.settings_table import rows, toml_value
from antiphon.settings import SECTIONS, AgentSettings, General, MatrixSettings, Secret

VALUES: dict[tuple[str, str], Any] = {
    ("", "state_dir"): "/var/lib/antiphon",
    ("matrix", "homeserver"): "https://matrix.example.org",
    ("matrix", "user"): "@bot:example.org",
    ("matrix", "password"): Secret('a "quoted" \\ pässword\x7f\n#'),
    ("matrix", "allow"): ("@me:example.org", "@*:example.com"),
    ("matrix", "edit_interval_s"): 2.5,
    ("agent", "tokens"): {"matrix": Secret("t"), "other one": Secret("u")},
    ("agent", "port"): 9,
}


def test_every_setting_is_in_the_table_with_a_sentence_of_help() -> None:
    for name, struct in SECTIONS.items():
        found = list(rows(name))
        assert [row.name for row in found] == list(struct.__struct_fields__)
        for row in found:
            assert row.help.rstrip().endswith((".", ")")), row
            assert row.kind, row


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "antiphon.toml"
    write_private(path, settings_text(VALUES), force=False)
    source = settings.read(path, {})
    read: dict[str, msgspec.Struct] = {
        "": settings.section(source, "", General),
        "matrix": settings.section(source, "matrix", MatrixSettings),
        "agent": settings.section(source, "agent", AgentSettings),
    }
    for (section, name), value in VALUES.items():
        assert getattr(read[section], name) == value


def test_what_is_not_set_stands_commented_out_with_its_default(tmp_path: Path) -> None:
    text = settings_text({})
    parsed = tomllib.loads(text)
    assert parsed == {"matrix": {}, "agent": {}, "chat": {}}
    assert "# port = 8765" in text
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and line[2:3].islower() else line
        for line in text.splitlines()
    )
    path = tmp_path / "antiphon.toml"
    path.write_text(uncommented)
    source = settings.read(path, {})
    for section in WRITTEN_SECTIONS:
        struct = SECTIONS[section]
        assert settings.section(source, section, struct) == struct(), section


@given(st.text())
def test_any_text_survives_as_toml(text: str) -> None:
    assert tomllib.loads(f"a = {toml_value(text)}") == {"a": text}


def test_the_file_is_private_and_another_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new" / "antiphon.toml"
    write_private(path, "first", force=False)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingsError, match="--force"):
        write_private(path, "second", force=False)
    assert path.read_text() == "first"
    path.chmod(0o644)
    write_private(path, "third", force=True)
    assert path.read_text() == "third"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["antiphon.toml"]


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is no folder"):
        write_private(tmp_path / "file" / "antiphon.toml", "text", force=False)
