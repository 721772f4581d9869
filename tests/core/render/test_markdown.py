"""Markdown becomes the HTML that Matrix allows, and nothing else, whatever a model writes."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.render import clean, fits, to_html
from antiphon.core.render.markdown import MAX_DEPTH, SCHEMES, TAGS


class Checker(HTMLParser):
    """Fails on any tag, attribute or link that is not on Matrix's list, and on bad nesting."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.deepest = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        for name, value in attrs:
            assert (tag, name) in {("a", "href"), ("ol", "start"), ("code", "class")}
            if name == "href":
                assert value is not None
                assert value.split(":")[0].lower() in SCHEMES
            if name == "class":
                assert value is not None
                assert re.fullmatch(r"language-[\w+#.-]+", value)
        if tag not in ("br", "hr"):
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")


def check(html: str | None) -> None:
    if html is not None:
        checker = Checker()
        checker.feed(html)
        checker.close()
        assert not checker.open
        assert checker.deepest <= 100


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a **b** *c* ~~d~~ `e`", "a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code>"),
        ("one\n**two**", "one<br><strong>two</strong>"),
        ("**a**\n\nb", "<p><strong>a</strong></p><p>b</p>"),
        ("# T\n\n- a\n- b", "<h1>T</h1><ul><li>a</li><li>b</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> q", "<blockquote><p>q</p></blockquote>"),
        ("---", "<hr>"),
        ("```py\nx < 1\n```", '<pre><code class="language-py">x &lt; 1\n</code></pre>'),
        ('```a"b onclick=x\ny\n```', "<pre><code>y\n</code></pre>"),
        ("[a](https://b.c)", '<a href="https://b.c">a</a>'),
        ("<https://b.c>", '<a href="https://b.c">https://b.c</a>'),
        (
            "|a|b|\n|-|:-:|\n|1|2<br>3|",
            (
                "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
                "<tbody><tr><td>1</td><td>2<br>3</td></tr></tbody></table>"
            ),
        ),
    ],
)
def test_markdown_becomes_html(markdown: str, html: str) -> None:
    assert to_html(markdown) == html
    check(html)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Paris.", "two\nlines", "two\n\nparagraphs", "1 < 2 & 3", "a  \nb", "\n\nx\n\n"),
        *("snake_case_name", "https://example.org/?a=b", "@room and @a:b.c", "2 * 3 * 4"),
    ],
)
def test_plain_text_needs_no_html(text: str) -> None:
    assert to_html(text) is None


def test_html_in_the_source_is_shown_as_text() -> None:
    html = to_html("**x** <script>alert(1)</script> <b onclick='y'>z</b> vector<int> <!-- c -->")
    assert html is not None
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "vector&lt;int&gt;" in html
    check(html)


def test_a_fallback_for_replies_can_not_be_forged() -> None:
    html = to_html("<mx-reply><blockquote>x</blockquote></mx-reply> **y**")
    assert html is not None
    assert "<mx-reply>" not in html


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "vbscript:x"),
        *("file:///etc/passwd", "/relative", "relative", "//example.org", "#top"),
        *("java\tscript:x", "mxc://a/b", "&#106;avascript:x"),
    ],
)
def test_a_link_that_matrix_does_not_allow_stays_text(url: str) -> None:
    html = to_html(f"**x** [text]({url})")
    assert html is not None
    assert "<a" not in html
    assert "text" in html


@pytest.mark.parametrize("scheme", ["https", "http", "ftp", "mailto", "magnet", "matrix", "HTTPS"])
def test_links_that_matrix_allows_are_links(scheme: str) -> None:
    assert to_html(f"[a]({scheme}:b)") == f'<a href="{scheme}:b">a</a>'


def test_nothing_becomes_a_link_by_itself() -> None:
    html = to_html("**see** https://example.org and www.example.org")
    assert html is not None
    assert "<a" not in html


def test_an_image_becomes_a_link_so_that_no_other_site_learns_who_reads() -> None:
    assert to_html("![a cat](https://x.y/c.png)") == '<a href="https://x.y/c.png">a cat</a>'
    assert to_html("![](https://x.y/c.png)") == '<a href="https://x.y/c.png">https://x.y/c.png</a>'
    assert to_html("[![alt](https://i.j)](https://c.d)") == '<a href="https://c.d">alt</a>'


def test_mentions_stay_text() -> None:
    html = to_html("**hello** @room @alice:example.org")
    assert html == "<strong>hello</strong> @room @alice:example.org"


@pytest.mark.parametrize(
    ("partial", "html"),
    [
        ("```py\nx = 1", '<pre><code class="language-py">x = 1</code></pre>'),
        ("```py", '<pre><code class="language-py"></code></pre>'),
        ("see **bol", None),
        ("a `cod", None),
        ("[lin](https://exam", None),
        ("- a\n- ", "<ul><li>a</li><li></li></ul>"),
        ("| a | b |\n|--", None),
    ],
)
def test_unfinished_markdown_renders_as_what_it_is_so_far(partial: str, html: str | None) -> None:
    assert to_html(partial) == html


def test_nesting_is_not_deeper_than_clients_show() -> None:
    assert to_html("> " * 20 + "x") is not None
    for mark in ("> ", "- ", "1. "):
        assert to_html(mark * 200 + "x") is None, "a deeper text would lose words in HTML"
    emphasis = to_html("*a " * 120 + "x" + "*" * 120)
    check(emphasis)
    assert MAX_DEPTH < 100


def test_a_text_with_its_html_over_an_events_size_is_sent_plain() -> None:
    assert to_html("**b** " + "<" * 4_500) is None
    html = to_html("**b** " + "<" * 3_000)
    assert html is not None
    assert fits("**b** " + "<" * 3_000, html)


ADVERSARIAL = {
    "brackets": "[",
    "images": "![",
    "links": "[a](",
    "link ends": "](",
    "references": "[a][",
    "empty links": "[]",
    "stars": "*",
    "star words": "* a",
    "mixed emphasis": "*a **b _c __d ~~e ",
    "closers": "a** b* c_ ",
    "strikes": "~~a",
    "ticks": "`",
    "ticks apart": "` `` ``` ",
    "angles": "<",
    "autolinks": "<http:",
    "comments": "<!--",
    "entities": "&#x",
    "backslashes": "\\",
    "quotes": ">",
    "quote lines": "> > > a\n",
    "lists": "- ",
    "numbers": "1. ",
    "pipes": "|",
    "rows": "|\n",
    "setext": "a\n=",
    "headings": "#\n",
    "fences": "```\n",
    "blank": " ",
    "tabs": "\t",
    "lines": "\n",
    "nulls": "\x00",
    "titles": '[a](b "',
    "parentheses": "[a]((",
    "mix": "*[",
    "breaks": "<br>",
    "definitions": "[a]: b\n",
}


@pytest.mark.parametrize("size", [13_000, 60_000])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_no_text_takes_long(name: str, size: int) -> None:
    """Measured far below; a second is for a busy machine."""
    piece = ADVERSARIAL[name]
    text = (piece * size)[:size]
    started = time.process_time()
    check(to_html(text))
    check(to_html("**b** " + text[: size - 10]))
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("columns", [60, 65, 200])
def test_a_table_does_not_swell(columns: int) -> None:
    """Short rows are filled up with cells: a thousand columns would make millions of them."""
    text = "|".join("a" * columns) + "\n" + "|".join("-" * columns) + "\n" + "x\n" * 4_000
    started = time.process_time()
    check(to_html(text))
    assert time.process_time() - started < 1.0


@given(st.text(max_size=300))
def test_no_text_raises_or_gets_past_the_sanitiser(text: str) -> None:
    check(to_html(text))


MARKUP = st.sampled_from(
    [
        *"[]()!*_~`<>&\\|-+#.1 \n\t\"':ab\x00\ud800",
        *("```", "https://a.b", "<a href='x'>", "\n\n", "    ", "|-|\n"),
    ]
)


@given(st.lists(MARKUP, max_size=60).map("".join))
def test_no_markup_raises_or_gets_past_the_sanitiser(text: str) -> None:
    check(to_html(text))


@given(st.text(max_size=200), st.text(max_size=200))
def test_cleaned_text_can_be_sent_and_stays_as_it_is(first: str, more: str) -> None:
    cleaned = clean(first)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    if not first.endswith("\r"):
        assert clean(first + more).startswith(cleaned)


def test_line_ends_are_made_one_kind_and_controls_replaced() -> None:
    assert clean("a\r\nb\rc\td\x00\x1b[0m\ud83d") == "a\nb\nc\td\ufffd\ufffd[0m\ufffd"
