"""The pages that are made from the source are those in `docs/`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.cli import docs
from antiphon.core.chat_settings import SETTINGS
from antiphon.core.commands import STANDARD
from antiphon.settings import SECTIONS, variable_name

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", list(docs.pages()))
def test_the_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == docs.pages()[name], "run `make docs`"


def test_every_setting_and_every_command_has_its_place() -> None:
    settings_page, cli_page = docs.settings_page(), docs.cli_page()
    for section, struct in SECTIONS.items():
        for field in struct.__struct_fields__:
            assert f"`{variable_name(section, field)}`" in settings_page
    for words in ("demo", "init", "run", "agent serve", "matrix run"):
        assert f"## `antiphon {words}`" in cli_page


def test_everything_that_may_be_said_and_set_in_the_chat_is_on_its_page() -> None:
    page = docs.commands_page()
    for command in STANDARD.commands:
        assert f"| `{command.usage}` |" in page
        assert command.help in page
    for key, setting in SETTINGS.items():
        assert f"| `{key}` |" in page
        assert setting.help in page


def test_hidden_options_stay_out_of_the_page() -> None:
    assert "die-with-parent" not in docs.cli_page()


def test_a_stale_page_fails_the_check_and_writing_mends_it(tmp_path: Path) -> None:
    assert docs.main([str(tmp_path)]) == 0
    assert docs.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "cli.md").write_text("old")
    assert docs.main(["--check", str(tmp_path)]) == 1
    assert (tmp_path / "cli.md").read_text() == "old"
    assert docs.main([str(tmp_path)]) == 0
    assert docs.main(["--check", str(tmp_path)]) == 0
    assert docs.main([str(tmp_path), "another"]) == 2


def test_no_command_loads_the_documentation_tools() -> None:
    code = "import sys, antiphon.cli.app; print('antiphon.cli.docs' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
