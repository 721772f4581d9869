"""Code fences are told from text as CommonMark does, also inside of lists and quotes."""

import pytest

from antiphon.core.render.fence import after_line, open_at_end, opened_by


@pytest.mark.parametrize(
    ("line", "marks", "language"),
    [
        ("```", "```", ""),
        ("```python", "```", "python"),
        ("~~~~ c++ title=x", "~~~~", "c++"),
        ("   ```js", "```", "js"),
        ("- ```js", "```", "js"),
        ("12. ```js", "```", "js"),
        ("> ```sh", "```", "sh"),
        (">> ```sh", "```", "sh"),
    ],
)
def test_a_fence_is_read_with_its_language(line: str, marks: str, language: str) -> None:
    fence = opened_by(line)
    assert fence is not None
    assert (fence.marks, fence.language) == (marks, language)


@pytest.mark.parametrize("line", ["", "``", "a ```", "```inline``` code", "`" * 40, "~~x~~"])
def test_other_lines_open_nothing(line: str) -> None:
    assert opened_by(line) is None


def test_a_fence_ends_at_as_many_marks_of_its_kind() -> None:
    fence = opened_by("````md")
    assert fence is not None
    for inside in ("```", "~~~~", "````x", "text", "", "`" * 100):
        assert after_line(fence, inside) is fence, inside
    for end in ("````", "  `````  "):
        assert after_line(fence, end) is None, end


def test_a_fence_in_a_quote_ends_with_the_quote() -> None:
    fence = opened_by("> ```")
    assert after_line(fence, "> code") is fence
    assert after_line(fence, "> ```") is None
    assert after_line(fence, "no quote any more") is None


def test_a_fence_in_a_list_is_closed_inside_of_the_list() -> None:
    fence = open_at_end("1. So:\n   ```py\n   x = 1")
    assert fence is not None
    assert fence.closing == "   ```"
    assert fence.reopening == "```py"


def test_a_closed_fence_is_not_open_at_the_end() -> None:
    assert open_at_end("```\na\n```\nb") is None
    assert open_at_end("no fence") is None
