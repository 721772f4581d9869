"""What may stand on a terminal: text of models and strangers without anything that acts. Pure."""

from __future__ import annotations

import re

from antiphon.core.render.text import clean

# What turns the reading order round for the text behind it, so that a line reads as another one.
_OVERRIDES = re.compile("[\u202d\u202e]")


def safe(text: str) -> str:
    """`text` without control characters and escape sequences: what would move the cursor, set a
    title, colour or answer a terminal's question is U+FFFD and plain letters. Never raises; more
    text never changes what came before (`clean`)."""
    return _OVERRIDES.sub("\N{REPLACEMENT CHARACTER}", clean(text))


def growth(shown: str, text: str) -> str:
    """What to write where `shown` stands, so that a reader has `text`.

    Usually its end. Where the text changed further up, a line break and then everything from the
    beginning of the first changed line: what was written can't be taken back."""
    if text.startswith(shown):
        return text[len(shown) :]
    same = 0
    for old, new in zip(shown, text, strict=False):
        if old != new:
            break
        same += 1
    if same == len(text):
        return ""
    return "\n" + text[text.rfind("\n", 0, same) + 1 :]


def shortened(text: str, longest: int) -> str:
    """The beginning of `text`, with a mark where it was cut."""
    return text if len(text) <= longest else text[: longest - 2].rstrip() + " …"
