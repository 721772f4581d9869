"""How many tokens a text is, estimated without a tokenizer. Pure.

The estimate is meant to be too high rather than too low: three ASCII characters a token (English
prose has four, code and digits about three), and two bytes a token for everything else (a Chinese
character counts 1.5, an emoji 2). Each message costs a few tokens of framing.
"""

from __future__ import annotations

MESSAGE_TOKENS = 4
ASCII_PER_TOKEN = 3
BYTES_PER_TOKEN = 2


def estimate(text: str) -> int:
    """Tokens of `text`, rounded up, without framing."""
    return of_weight(*weight(text))


def weight(text: str) -> tuple[int, int]:
    """ASCII characters of `text`, and bytes of the rest: sums over pieces are those of the whole,
    which token counts are not."""
    if text.isascii():
        return len(text), 0
    plain = len(text.encode("ascii", "ignore"))
    return plain, len(text.encode("utf-8", "surrogatepass")) - plain


def of_weight(plain: int, rest: int) -> int:
    """Tokens of so many ASCII characters and bytes of the rest."""
    return -(-plain // ASCII_PER_TOKEN) + -(-rest // BYTES_PER_TOKEN)


def characters(tokens: int) -> int:
    """How many characters of plain text surely fit into `tokens`."""
    return max(0, tokens) * ASCII_PER_TOKEN


def cut(text: str, tokens: int) -> str:
    """The longest beginning of `text` (by halving) that fits into `tokens`."""
    if estimate(text) <= tokens:
        return text
    low, high = 0, min(len(text), characters(tokens))
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]
