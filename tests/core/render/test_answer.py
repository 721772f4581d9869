"""An answer's end: marks outside of code blocks, errors with their id, tools in a line."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.ids import RunId
from antiphon.core.render import answer, fits, split, to_html


def test_a_whole_answer_stays_as_it_is_and_an_empty_one_says_so() -> None:
    assert answer.finished(("a", "b")) == ("a", "b")
    assert answer.finished(()) == (answer.EMPTY,)


def test_a_stopped_answer_keeps_its_words() -> None:
    assert answer.stopped(("one", "two")) == ("one", "two\n\n*(stopped)*")
    assert answer.stopped(()) == ("*(stopped before the answer began)*",)


def test_a_mark_stands_outside_of_an_open_code_block() -> None:
    for text in ("Look:\n```py\nx = 1", "1. Look:\n\n   ```py\n   x = 1", "> ```\n> x = 1"):
        html = to_html(answer.stopped((text,))[0])
        assert html is not None
        assert html.endswith("<p><em>(stopped)</em></p>"), html


def test_an_error_is_one_sentence_with_an_id() -> None:
    assert answer.failed((), "The model\ncan't be reached.", "1a2b3c") == (
        "The model can't be reached. (error 1a2b3c)",
    )
    assert answer.failed(("So far",), "", "1a2b3c") == (
        "So far\n\nSomething went wrong. (error 1a2b3c)",
    )
    assert len(answer.error_sentence("x" * 10_000, "1a2b3c")) < 350


def test_an_error_id_is_the_same_each_time_and_another_for_another_run() -> None:
    first = answer.error_id(RunId("t1.0"), "deadline")
    assert first == answer.error_id(RunId("t1.0"), "deadline")
    assert first != answer.error_id(RunId("t1.1"), "deadline")
    assert len(first) == 6


def test_tools_are_one_line_in_order_of_use() -> None:
    assert answer.with_tools(("4",), ["calculator", "clock", "calculator"]) == (
        "4\n\n*used `calculator` ×2, `clock`*",  # noqa: RUF001
    )
    assert answer.with_tools(("4",), []) == ("4",)
    assert "2 more" in answer.with_tools((), [f"t{i}" for i in range(10)])[0]


def test_a_tools_name_can_not_break_out_of_its_line() -> None:
    (line,) = answer.with_tools((), ["a`*\n# b"])
    assert line == "*used `ab`*"


@given(st.text("a\n`~> -1.)\\*", max_size=80), st.text(max_size=400))
def test_with_every_mark_a_part_still_fits_into_an_event(text: str, message: str) -> None:
    parts = answer.failed(answer.with_tools(split(text), ["x" * 99] * 9), message, "1a2b3c")
    for part in parts:
        assert fits(part, to_html(part))
