"""Markdown, as models write it, to the HTML that Matrix clients show. Pure; no I/O.

Two walls stand between a model's output and a client: HTML in the source is escaped by the
renderer, and what the renderer made is cleaned by nh3 down to the tags and attributes that the
Matrix specification lists (client-server API, `m.room.message`, `formatted_body`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from antiphon.core.render.measure import EVENT_TEXT_BYTES, json_bytes
from antiphon.core.render.text import clean

MAX_DEPTH = 90
"""Deepest nesting of elements that is sent; the specification lets clients ignore what is below
100."""

# Of the tags that the specification lists, those that Markdown can make. No `img`: an image of
# another site would tell that site who reads; no `mx-reply`: it is not for answers.
_INLINE_TAGS = ("a", "br", "code", "del", "em", "s", "strong")
_BLOCK_TAGS = (
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "blockquote", "hr", "ol", "ul", "li"),
    *("table", "thead", "tbody", "tr", "th", "td"),
)
TAGS = frozenset(_INLINE_TAGS + _BLOCK_TAGS)
_ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "code": {"class"}}
SCHEMES = frozenset({"https", "http", "ftp", "mailto", "magnet", "matrix"})

_LINK = re.compile(rf"(?:{'|'.join(sorted(SCHEMES))}):[^\s]", re.IGNORECASE)
_LANGUAGE = re.compile(r"language-[A-Za-z0-9_+#.-]{1,40}")
_BREAK_TAG = re.compile(r"<br\s{0,3}/?>", re.IGNORECASE)
# A line end before a block's tag says nothing (code ends before `</code>`), costs two bytes, and
# some clients show it.
_IDLE_LINE_END = re.compile(rf"\n(?=</?(?:{'|'.join(_BLOCK_TAGS)})[ />])")
# A table's second row. Short rows are filled up with cells, so a small text can make a huge table.
_DELIMITER_ROW = re.compile(
    r"^[ \t>]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*$", re.MULTILINE
)
_BLANK_LINE = re.compile(r"\n[ \t>]*+\n")
_CELL_BYTES = len("<td></td>")
# Each bracket looks for its end; by the thousand they are no text that a person reads.
_MAX_BRACKETS = 4_000


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        """A link that we would not send stays in the text as it was written."""
        return _LINK.match(url) is not None


def to_html(markdown: str) -> str | None:
    """`formatted_body` for the `body` `markdown`, or None when the plain text is as good: it has
    no markup, is nested deeper than clients show, or does not fit into one event beside its HTML
    (`measure.fits`; split it first).

    CommonMark with tables and strikethrough; a single line end is a `<br>`; HTML in the source is
    shown as text (but for `<br>`); nothing becomes a link that was not written as one; an image
    becomes a link to it. Unfinished Markdown, as it streams in, renders as what it is so far.

    Never raises, and takes bounded time for any text. It makes no mention: `@room` and Matrix IDs
    stay text, and a link to a user is only a link. Whoever sends it must set `m.mentions: {}`,
    which keeps clients from reading mentions out of the text."""
    markdown = clean(markdown)
    body_size = json_bytes(markdown)
    if 2 * body_size > EVENT_TEXT_BYTES * 1.25 or markdown.count("[") > _MAX_BRACKETS:
        return None
    if _table_cells(markdown) * _CELL_BYTES > EVENT_TEXT_BYTES:
        return None
    parser = _parser()
    tokens = parser.parse(markdown)
    if _is_plain(tokens) or _depth(tokens) >= MAX_DEPTH:
        return None
    if _is_one_paragraph(tokens):
        tokens = tokens[1:2]
    html = nh3.clean(
        parser.renderer.render(tokens, parser.options, {}),
        tags=set(TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=set(SCHEMES),
        url_relative="deny",
        link_rel=None,
    ).strip()
    html = _IDLE_LINE_END.sub("", html)
    if not html or body_size + json_bytes(html) > EVENT_TEXT_BYTES:
        return None
    return html


@cache
def _parser() -> MarkdownIt:
    """The configured parser; it keeps nothing between two texts."""
    parser = _Parser(
        "commonmark", {"html": False, "breaks": True, "linkify": False, "maxNesting": MAX_DEPTH}
    )
    parser.enable(["table", "strikethrough"])
    parser.inline.ruler.before("autolink", "br_tag", _br_tag)
    parser.core.ruler.push("images_to_links", lambda state: _images_to_links(state.tokens))
    parser.add_render_rule("softbreak", _br)
    parser.add_render_rule("hardbreak", _br)
    return parser


def _table_cells(markdown: str) -> int:
    """The most cells that the tables in the text can have."""
    cells = end = 0
    for row in _DELIMITER_ROW.finditer(markdown):
        if row.start() >= end:
            blank = _BLANK_LINE.search(markdown, row.end())
            end = blank.start() if blank else len(markdown)
            columns = row[0].strip(" \t>|").count("|") + 1
            cells += columns * markdown.count("\n", row.start(), end)
    return cells


def _br(*_: object) -> str:
    return "<br>"


def _br_tag(state: StateInline, silent: bool) -> bool:
    """`<br>` is the only way to break a line in a table cell, and models use it."""
    match = _BREAK_TAG.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = match.end()
    return True


def _attribute(tag: str, name: str, value: str) -> str | None:
    if (tag, name) == ("code", "class"):
        return value if _LANGUAGE.fullmatch(value) else None
    return value


def _images_to_links(tokens: Sequence[Token]) -> None:
    for block in tokens:
        if not block.children or not any(child.type == "image" for child in block.children):
            continue
        links = 0
        changed: list[Token] = []
        for token in block.children:
            links += (token.type == "link_open") - (token.type == "link_close")
            if token.type == "image":
                changed += _image_as_link(token, inside_link=links > 0)
            else:
                changed.append(token)
        block.children = changed


def _image_as_link(image: Token, *, inside_link: bool) -> list[Token]:
    source = str(image.attrGet("src") or "")
    text = Token("text", "", 0, content=image.content or source)
    if inside_link:
        return [text]
    opening = Token("link_open", "a", 1, attrs={"href": source})
    return [opening, text, Token("link_close", "a", -1)]


def _is_one_paragraph(tokens: Sequence[Token]) -> bool:
    return len(tokens) == 3 and tokens[0].type == "paragraph_open"


def _is_plain(tokens: Sequence[Token]) -> bool:
    """Whether the tokens say no more than the text they were read from."""
    for token in tokens:
        if token.type in ("paragraph_open", "paragraph_close"):
            if token.level:
                return False
        elif token.type != "inline" or not _is_plain_inline(token):
            return False
    return True


def _is_plain_inline(inline: Token) -> bool:
    shown = []
    for child in inline.children or ():
        if child.type in ("softbreak", "hardbreak"):
            shown.append("\n")
        elif child.type == "text":
            shown.append(child.content)
        else:
            return False
    written = "\n".join(line.strip() for line in inline.content.split("\n"))
    return "".join(shown) == written


def _depth(tokens: Sequence[Token]) -> int:
    """The deepest nesting of elements."""
    depth = deepest = 0
    for block in tokens:
        depth += block.nesting
        inner = depth
        for token in block.children or ():
            inner += token.nesting
            deepest = max(deepest, inner)
        deepest = max(deepest, depth)
    return deepest
