"""How many bytes a text takes inside an event, and how many it may take. Pure.

Matrix allows 65,536 bytes for an event as canonical JSON (client-server spec, "Size limits"). The
answer's text stands in it as `body` and again as `formatted_body`, in an edit both once more
(`m.new_content`), and encryption adds a third (base64). EVENT_TEXT_BYTES is what is left for one
`body` and one `formatted_body` together when all of that happens at once.
"""

from __future__ import annotations

EVENT_TEXT_BYTES = 22_000
"""Most bytes of `body` and `formatted_body` together, each as a JSON string, in one event."""

# Canonical JSON writes these in two bytes, the other controls in six (`\u0001`).
_SHORT_ESCAPES = ('"', "\\", "\n", "\t", "\r", "\b", "\f")
_LONG_ESCAPES = tuple(chr(code) for code in range(32) if chr(code) not in _SHORT_ESCAPES)

# What markup costs in HTML beyond its own characters, about, in the Markdown that models write
# (a `|` begins a table cell, a line end may end a list item).
_MARKUP_COST = (
    ("&", 4),
    ("<", 3),
    (">", 3),
    ("|", 9),
    ("\n", 4),
    ("- ", 6),
    ("\n  ", 4),
    (". ", 2),
    ("\n>", 16),
    ("\n#", 6),
    ("](", 14),
    ("*", 4),
    ("`", 6),
    ("~", 4),
    ("_", 1),
)


def json_bytes(text: str) -> int:
    """Length of `text` in canonical JSON (UTF-8, without the quotes around it), in bytes. A lone
    surrogate counts as the replacement character that `clean` makes of it."""
    size = len(text.encode("utf-8", "surrogatepass"))
    size += sum(map(text.count, _SHORT_ESCAPES))
    if not text.isprintable():
        size += 5 * sum(map(text.count, _LONG_ESCAPES))
    return size


def fits(body: str, html: str | None) -> bool:
    """Whether `body` and its `formatted_body` may stand in one event, however it is sent."""
    return json_bytes(body) + (json_bytes(html) if html is not None else 0) <= EVENT_TEXT_BYTES


def cost(markdown: str) -> int:
    """What `markdown` takes in an event, in bytes: exact for its `body`, estimated for its HTML.

    Never falls when text is added at the end: the longest beginning that fits does not depend on
    what comes after it."""
    size = 2 * json_bytes(markdown)
    return size + sum(extra * markdown.count(char) for char, extra in _MARKUP_COST)
