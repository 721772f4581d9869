"""Long answers are split at good places that never move, into parts that fit into events."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.core.render import PartSplitter, clean, split, to_html
from antiphon.core.render.split import MIN_LIMIT

PIECES = st.sampled_from(
    [
        *(
            "word ",
            "Sentence end. ",
            "Really? ",
            "\n",
            "\n\n",
            "   \n",
            "x" * 70,
            "\t",
            "    ind\n",
        ),
        *(
            "```\n",
            "```py\n",
            "   ```\n",
            "~~~~\n",
            "\n````\n",
            "> ```js\n",
            "> quoted\n",
            "`",
            "~",
        ),
        *("- item\n", "1. ```c\n", "| a | b |\n|---|---|\n", "| cell | <&> |\n", "# Head\n"),
        *("\u6625\u7720\u4e0d\u89c9\u6653\u3002", "\U0001f469\u200d\U0001f467", "e\u0301" * 9),
        *("\U0001f1e9\U0001f1ea" * 5, '"\\"', "**bold** ", "[a](https://b.c) "),
    ]
)
TEXTS = st.lists(PIECES, max_size=120).map("".join)


def without_layout(text: str) -> str:
    """What must not get lost: everything but white space and what fences are made of."""
    return "".join(char for char in text if not char.isspace() and char not in "`~>")


def final_edit_bytes(part: str) -> int:
    """The size of an edit's content as canonical JSON, with everything in it twice."""
    text: dict[str, object] = {"msgtype": "m.text", "body": part, "m.mentions": {}}
    html = to_html(part)
    if html is not None:
        text |= {"format": "org.matrix.custom.html", "formatted_body": html}
    relation = {"rel_type": "m.replace", "event_id": "$" + "x" * 254, "turn": "t" * 40, "part": 99}
    content = {**text, "m.new_content": text, "m.relates_to": relation}
    return len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())


def test_a_short_text_is_one_part_and_a_blank_one_none() -> None:
    assert split("Paris.") == ("Paris.",)
    assert split(" \n ") == ()
    assert split("") == ()


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        split("x", MIN_LIMIT - 1)


@given(TEXTS, st.data())
@example("```py\n" + "code\n" * 60 + "```", None)
def test_a_boundary_never_moves_and_no_part_goes_away(
    text: str, data: st.DataObject | None
) -> None:
    ends = (
        range(len(text))
        if data is None
        else sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    )
    before: tuple[str, ...] = ()
    for end in (*ends, len(text)):
        now = split(text[:end], MIN_LIMIT)
        assert now[: len(before[:-1])] == before[:-1]
        assert len(now) >= len(before)
        before = now


@given(TEXTS, st.lists(st.integers(0, 3000), max_size=8))
def test_the_incremental_splitter_gives_what_split_gives(text: str, ends: list[int]) -> None:
    """Also for a text that shrinks, as when a run is resumed, and then goes on otherwise."""
    splitter = PartSplitter(MIN_LIMIT)
    for end in (*ends, len(text)):
        for version in (text[:end], text[: end // 2] + " other" * 50):
            assert splitter.split(version) == split(version, MIN_LIMIT)


@given(TEXTS)
def test_nothing_but_white_space_gets_lost(text: str) -> None:
    parts = split(text, MIN_LIMIT)
    kept = without_layout("".join(parts))
    for language in ("py", "js", "c"):  # that of a reopened fence is there more than once
        kept, text = kept.replace(language, ""), text.replace(language, "")
    # A list mark before a fence goes when the fence is opened anew in the next part.
    assert kept == without_layout(text)


@given(TEXTS)
def test_no_part_is_longer_than_the_limit_or_blank(text: str) -> None:
    for part in split(text, MIN_LIMIT):
        assert part.strip()
        assert len(part) <= MIN_LIMIT


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=12).map("".join), st.integers(300, 3000))
def test_every_part_as_a_final_edit_stays_below_the_size_of_an_event(text: str, times: int) -> None:
    parts = split((text * times)[:40_000])
    for part in parts:
        assert final_edit_bytes(part) < 60_000


@pytest.mark.parametrize(
    "text",
    [
        *("\x00", "\x01", '"', "\\", "&", "<", "|", "a|b\n-|-\n", "> ", "\n- a", "*a*", "`a`"),
        *("\U0001f600", "\u4e2d", "[](https://a.b)", "~~a~~", "# \n", "---\n", "_", "1. \n"),
        *("  \n", "a\n\n"),
    ],
)
def test_texts_that_swell_stay_below_the_size_of_an_event(text: str) -> None:
    parts = split(clean(text * 20_000)[:20_000])
    assert parts or not text.strip()
    for part in parts:
        assert final_edit_bytes(part) < 46_000  # and a third more when it is encrypted


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox was (as always) **lazy**. " * 900,
        "".join(f"- **Item {i}**: some text with `code` in it\n" for i in range(900)),
        "".join(f"- one {i}\n  - two\n  - three\n" for i in range(1500)),
        "```rust\n" + "fn foo(a: &Vec<String>) -> Option<u32> { a[0].x_y && b }\n" * 900 + "```",
        "See [this page](https://example.org/a/b?c=d&e=f) for more. " * 900,
        "**\u6625\u7720**\u4e0d\u89c9\u6653\u3002" * 3000,
        "> said *he*\n> and <she>\n\nok\n\n" * 1500,
        "## Head\n\ntext\n\n" * 2000,
    ],
)
def test_parts_of_usual_answers_keep_their_formatting(text: str) -> None:
    """The estimate of the HTML's size is good enough for its HTML to fit as well."""
    parts = split(text)
    assert len(parts) > 1
    assert all(to_html(part) is not None for part in parts)


def test_parts_are_about_ten_thousand_characters_of_prose() -> None:
    parts = split(("The quick brown fox. " * 20 + "\n\n") * 100)
    assert all(9_000 < len(part) <= 12_000 for part in parts[:-1])


def test_a_paragraphs_end_is_the_best_boundary() -> None:
    text = "a " * 70 + "\n\n" + "b " * 20 + "\n" + "c. " * 40
    assert split(text, MIN_LIMIT)[0] == ("a " * 70).strip()


def test_a_lines_end_is_better_than_a_sentences_and_that_better_than_a_space() -> None:
    line = "a " * 60 + "\n" + "One. Two " * 30
    assert split(line, MIN_LIMIT)[0] == ("a " * 60).strip()
    sentence = "a " * 60 + "Right. " + "word " * 60
    assert split(sentence, MIN_LIMIT)[0] == "a " * 60 + "Right."
    assert split("word " * 99, MIN_LIMIT)[0].endswith("word")


def test_a_long_line_without_a_space_is_cut_between_characters_as_people_count_them() -> None:
    for cluster in (
        "e\u0301",
        "\U0001f1e9\U0001f1ea",
        "\U0001f44d\U0001f3fd",
        "\U0001f469\u200d\U0001f467",
    ):
        for shift in range(4):
            parts = split("x" * shift + cluster * 300, MIN_LIMIT)
            assert len(parts) > 1
            for part in parts[1:]:
                assert part.startswith(cluster)


def test_a_code_block_over_a_boundary_is_closed_and_opened_anew_with_its_language() -> None:
    text = "Look:\n\n```python\n" + "print('hello')\n" * 60 + "```\n\nDone."
    parts = split(text, MIN_LIMIT)
    assert len(parts) > 3
    assert parts[0].startswith("Look:\n\n```python\nprint")
    for part in parts[:-1]:
        assert part.endswith("')\n```")
    for part in parts[1:-1]:
        assert part.startswith("```python\nprint")
    assert parts[-1].endswith("Done.")


def test_a_code_block_that_ends_at_a_boundary_leaves_no_empty_one_behind() -> None:
    for lines in range(10, 60):
        for part in split("```py\n" + "x = 1\n" * lines + "```\nend", MIN_LIMIT):
            assert "```py\n```" not in part


def code_block(margin: str, marks: str, lines: int) -> str:
    body = "".join(f"{margin}    y({i})\n\n{margin}x = {i}\n" for i in range(lines))
    return f"{margin}{marks}py\n{body}{margin}{marks}\n"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Markdown as models write it: prose, lists, tables, and code in all of them."""
    marks, lines = draw(st.sampled_from(["```", "````", "~~~"])), draw(st.integers(0, 8))
    nested = "".join(f"{n}. Do this\n\n{code_block('   ', marks, lines)}\n" for n in (1, 2, 3))
    quoted = "".join(f"> {line}\n" for line in code_block("", marks, lines).splitlines())
    blocks = [
        *("Some words here. " * (3 * lines + 1) + "\n\n", code_block("", marks, lines), nested),
        *(
            quoted + "\n",
            "- a\n  - b\n" + code_block("    ", marks, lines) + "- c\n\n",
            "## Head\n\n",
        ),
        *(
            "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * lines + "\n",
            f"- `x`\n{code_block('  ', marks, 2)}",
        ),
    ]
    return "".join(draw(st.lists(st.sampled_from(blocks), min_size=3, max_size=14)))


@given(documents(), st.sampled_from([256, 400, 800]))
def test_each_part_closes_the_code_that_it_begins_also_in_lists_and_quotes(
    text: str, limit: int
) -> None:
    """What is written after a part is outside of its code."""
    for part in split(text, limit)[:-1]:
        html = to_html(f"{part}\n\n*after*")
        assert html is not None
        assert html.endswith("<em>after</em></p>"), part


def test_a_part_that_begins_in_a_list_loses_the_lists_indentation() -> None:
    """Four spaces at the beginning of a message would make code of it."""
    code = "1. So:\n   ```py\n" + "   if x:\n       y()\n" * 60 + "   ```\n\n2. Next"
    parts = split(code, MIN_LIMIT)
    assert parts[0].endswith("\n   ```")
    for part in parts[1:-1]:
        assert part.startswith("```py\n")
        assert part.endswith("\n```")
        assert "\n   if" not in part
    nested = "- top\n" + "".join(f"    - nested {n} with more\n" for n in range(40))
    for part in split(nested, MIN_LIMIT)[1:]:
        assert all(line.startswith("- nested") for line in part.split("\n"))


def test_it_takes_bounded_time() -> None:
    """200,000 characters, the longest answer there is, word by word."""
    splitter = PartSplitter()
    text = "word " * 40_000
    for end in range(0, len(text), 500):
        splitter.split(text[:end])
    assert splitter.split(text) == split(text)
