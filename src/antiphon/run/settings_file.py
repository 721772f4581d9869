"""The text of a new `antiphon.toml`, and writing it so that nobody else ever reads it."""

from __future__ import annotations

import os
import secrets
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import SettingsError
from antiphon.run.settings_table import Row, rows, toml_value

WRITTEN_SECTIONS = ("", "matrix", "agent", "chat")
"""What `antiphon run` reads, and so what a new file holds."""

_HEAD = """\
# Settings of Antiphon, made by `antiphon init`. Each can also be given as a variable:
# ANTIPHON_STATE_DIR, ANTIPHON_MATRIX__USER, ANTIPHON_AGENT__MODEL …
# This file may hold passwords and keys: keep it readable by its owner alone (mode 0600).
"""


def settings_text(values: Mapping[tuple[str, str], Any]) -> str:
    """A settings file with every setting explained: those in `values`, keyed by (section, name),
    are set, the others stand commented out with their defaults."""
    known = {(row.section, row.name) for section in WRITTEN_SECTIONS for row in rows(section)}
    assert set(values) <= known, f"no settings: {set(values) - known}"
    blocks = [_HEAD]
    for section in WRITTEN_SECTIONS:
        if section:
            blocks.append(f"\n[{section}]\n")
        blocks.extend(_block(row, values) for row in rows(section))
    return "\n".join(blocks)


def _block(row: Row, values: Mapping[tuple[str, str], Any]) -> str:
    comment = "\n".join(f"# {line}" for line in textwrap.wrap(row.help, 96))
    key = (row.section, row.name)
    if key in values:
        return f"{comment}\n{row.name} = {toml_value(values[key])}\n"
    return f"{comment}\n# {row.name} = {toml_value(row.default)}\n"


def write_private(path: Path, text: str, *, force: bool) -> None:
    """Writes a file of mode 0600, synced, whole or not at all; an existing one is replaced only
    with `force`. Raises SettingsError where it exists or can't be written."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if force:
                fresh.replace(path)
            else:
                # A link fails where the name is taken, whoever took it a moment ago.
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        if not path.parent.is_dir():
            raise SettingsError(f"Can't write {path}: {path.parent} is no folder.") from None
        raise exists(path) from None
    except OSError as error:
        raise SettingsError(
            f"Can't write {path}: {error.strerror}. Choose another place for it."
        ) from error


def exists(path: Path) -> SettingsError:
    """The refusal to overwrite a settings file."""
    return SettingsError(
        f"{path} is there already. Give --force to replace it, or --output another name."
    )
