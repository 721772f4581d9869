"""Text that every client, database and JSON library takes. Pure functions over one string."""

from __future__ import annotations

import re

# C0 and C1 controls but newline and tab, lone surrogates (no UTF-8 for them), non-characters.
_UNWELCOME = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINE_END = re.compile("\r\n?|\u2028|\u2029")


def clean(text: str) -> str:
    """`text` with one kind of line end (`\\n`) and without characters that no message may hold:
    each of those becomes U+FFFD. Never raises.

    What is clean stays as it is, and more text never changes what came before: `clean(a + b)`
    begins with `clean(a)`, but for a line end `\\r\\n` that was cut in two, which may
    show as one line end more until the rest is there."""
    return _UNWELCOME.sub("\N{REPLACEMENT CHARACTER}", _LINE_END.sub("\n", text))
