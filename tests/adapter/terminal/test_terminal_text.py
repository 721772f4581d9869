"""What a model says can do nothing to a terminal."""

from __future__ import annotations

import asyncio
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.adapter.terminal.screen import Growing, Screen
from antiphon.adapter.terminal.text import growth, safe, shortened


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "evil",
    [
        "\x1b[2J\x1b[H",
        "\x1b]0;title\x07",
        "\x1b]52;c;Y2xpcA==\x07",
        "\x1bP$q\x1b\\",
        "\x9b31m",
        "\x1b[6n",
        "a\rb",
        "\x08\x08\x08",
        "\x7f",
        "\u202egnp.exe",
        "\ud800",
        "\x00",
    ],
)
def test_what_acts_on_a_terminal_is_taken_out(evil: str) -> None:
    out = Terminal()
    screen = Screen(out, io.StringIO(), plain=True)
    growing = Growing(screen)
    growing.show(f"a {evil} b")
    growing.settle(f"a {evil} b c")
    for show in (screen.answer, screen.remark, screen.said, screen.heard):
        show(evil)
    written = out.getvalue()
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in written if char != "\n")
    assert "\u202e" not in written


@given(st.text(), st.text())
def test_more_text_never_changes_what_stands_there(before: str, after: str) -> None:
    if not before.endswith("\r"):
        assert safe(before + after).startswith(safe(before))


@given(st.lists(st.text(alphabet="ab \n", min_size=1), min_size=1))
def test_an_answer_that_only_grows_stands_there_exactly_once(pieces: list[str]) -> None:
    out = io.StringIO()
    growing = Growing(Screen(out, io.StringIO()))
    text = ""
    for piece in pieces:
        text += piece
        growing.show(text)
    growing.settle(text)
    assert out.getvalue() == (text.rstrip() + "\n" if text.strip() else out.getvalue())


def test_only_what_is_new_is_written() -> None:
    assert growth("", "One") == "One"
    assert growth("One", "One two") == " two"
    assert growth("One", "One") == ""


def test_a_change_further_up_repeats_from_the_changed_line() -> None:
    assert growth("Line 1\nLine 2 ab", "Line 1\nLine 2 xy") == "\nLine 2 xy"
    assert growth("abc", "xyz") == "\nxyz"


def test_an_answer_that_shrinks_ends_with_the_final_text() -> None:
    out = io.StringIO()
    growing = Growing(Screen(out, io.StringIO()))
    growing.show("One two three")
    growing.settle("One two")
    assert out.getvalue() == "One two three\nOne two\n"


def test_long_text_is_cut_with_a_mark() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefgh", 6) == "abcd …"


def test_colour_only_where_a_person_looks_and_wants_it() -> None:
    for stream, plain, still, coloured in (
        (Terminal(), False, False, True),
        (Terminal(), True, False, False),
        (Terminal(), False, True, False),
        (io.StringIO(), False, False, False),
    ):
        Screen(stream, stream, plain=plain, still=still).said("x")
        assert ("\x1b[" in stream.getvalue()) is coloured


@pytest.mark.parametrize("still", [True, False])
async def test_something_moves_while_one_waits_where_it_can_be_taken_back(still: bool) -> None:
    out = Terminal()
    async with Screen(out, io.StringIO(), still=still).waiting():
        await asyncio.sleep(0.01)
    assert out.getvalue().endswith("" if still else "\r\x1b[2K")
    assert bool(out.getvalue()) is not still
