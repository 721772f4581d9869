"""Settings by variables: every kind of value that a file can hold."""

from __future__ import annotations

import pytest

from antiphon.errors import SettingsError
from antiphon.settings import MatrixSettings, Source, section


def of(**env: str) -> MatrixSettings:
    variables = {f"ANTIPHON_MATRIX__{name}": value for name, value in env.items()}
    return section(Source({}, None, variables), "matrix", MatrixSettings)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("FALSE", False), ("yes", True), ("no", False), ("1", True), ("0", False)],
)
def test_a_variable_can_say_true_and_false(text: str, value: bool) -> None:
    assert of(ANSWER_EDITS=text).answer_edits is value
    assert of(ENCRYPTION=text).encryption is value


def test_anything_else_is_told_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match=r"ANTIPHON_MATRIX__ANSWER_EDITS.*true or false"):
        of(ANSWER_EDITS="maybe")


def test_numbers_and_lists() -> None:
    found = of(PORT="9000", EDIT_INTERVAL_S="0.5", ALLOW="@a:x, @*:y")
    assert (found.port, found.edit_interval_s, found.allow) == (9000, 0.5, ("@a:x", "@*:y"))
    with pytest.raises(SettingsError, match="PORT"):
        of(PORT="many")
