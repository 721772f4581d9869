"""What the terminal shows."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.demo.screen import Growing, Screen


def shown(*texts: str, settled: str) -> str:
    out = io.StringIO()
    growing = Growing(out)
    for text in texts:
        growing.show(text)
    growing.settle(settled)
    return out.getvalue()


def test_what_acts_on_a_terminal_is_taken_out() -> None:
    assert "\x1b" not in shown("a \x1b[2J", settled="a \x1b[2J b")


@given(st.lists(st.text(alphabet="ab \n", min_size=1), min_size=1))
def test_an_answer_that_only_grows_is_on_the_screen_exactly_once(pieces: list[str]) -> None:
    texts = ["".join(pieces[: index + 1]) for index in range(len(pieces))]
    assert shown(*texts, settled=texts[-1]) == texts[-1].rstrip() + "\n"


def test_an_answer_that_shrinks_ends_with_the_final_text() -> None:
    assert shown("One two three", settled="One two") == "One two three\nOne two\n"


def test_an_answer_that_changes_ends_with_the_final_text() -> None:
    assert shown("Hello wor", "Sorry", settled="Sorry.") == "Hello wor\nSorry.\n"


async def test_without_a_terminal_progress_is_plain_lines_on_standard_error() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err)
    async with screen.step("Starting a homeserver"):
        pass
    assert out.getvalue() == ""
    assert err.getvalue().startswith("Starting a homeserver… 0.")
    assert err.getvalue().endswith(" s\n")
    assert "\r" not in err.getvalue()
    assert "\x1b" not in err.getvalue()


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_on_a_terminal_the_moving_line_is_cleared_before_the_result() -> None:
    out, err = Tty(), Tty()
    async with Screen(out, err).step("Waiting"):
        pass
    assert err.getvalue().rpartition("\r\x1b[2K")[2].startswith("Waiting… ")


async def test_a_step_that_fails_ends_its_line() -> None:
    err = io.StringIO()
    with pytest.raises(ZeroDivisionError):
        async with Screen(io.StringIO(), err).step("Trying"):
            raise ZeroDivisionError
    assert err.getvalue() == "Trying… \n"
