"""Arithmetic on text such as `2 * (3 + 4)`: a small parser that computes as it reads, in exact
fractions, with limits on every size. Pure; never Python's `eval`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction

MAX_CHARS = 200
MAX_BITS = 2_048
MAX_DEPTH = 50
DIGITS = 12
"""Significant digits of a result that is no whole number."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|\.\d+)|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>\*\*|//|[-+*/%^(),!]))"
)
_SPELLINGS = str.maketrans(
    {
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{MIDDLE DOT}": "*",
        "\N{DIVISION SIGN}": "/",
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{GREEK SMALL LETTER PI}": "pi",
    }
)
_NAMES = {"pi": Fraction(math.pi), "e": Fraction(math.e)}


class ArithmeticRefusedError(ValueError):
    """The text is no arithmetic, or too much of it; the message says which."""


def evaluate(text: str) -> Fraction:
    """The value of `text`: + - * / // % ** (or ^) ! parentheses, pi, e and the functions that
    `FUNCTIONS` lists. Raises ArithmeticRefusedError."""
    if len(text) > MAX_CHARS:
        raise ArithmeticRefusedError(f"That is longer than {MAX_CHARS} characters.")
    reader = _Reader(_tokens(text.translate(_SPELLINGS)))
    value = reader.sum(0)
    reader.end()
    return value


def show(value: Fraction) -> str:
    """A whole number in full, anything else with 12 significant digits (`≈` where rounded)."""
    if value.denominator == 1:
        return str(value.numerator)
    context = Context(prec=DIGITS)
    rounded = context.divide(Decimal(value.numerator), Decimal(value.denominator)).normalize()
    exact = Fraction(rounded) == value
    small = -6 <= rounded.adjusted() <= DIGITS
    shown = format(rounded, "f") if small else str(rounded)
    return shown if exact else f"≈ {shown}"


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ArithmeticRefusedError(f"I can't read {text[at:].strip()[:20]!r} as arithmetic.")
        tokens.append(found.group().strip())
        at = found.end()
    if not tokens:
        raise ArithmeticRefusedError("There is nothing to calculate.")
    return tokens


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise ArithmeticRefusedError("The numbers get too large.")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _by_float(lambda x, y: x**y, base, exponent)
    times = exponent.numerator
    if base == 0 and times < 0:
        raise ArithmeticRefusedError("That divides by zero.")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and bits * abs(times) > MAX_BITS + bits:
        raise ArithmeticRefusedError("The numbers get too large.")
    if bits <= 1:
        times = times % 2 + 2 if times else 0
    return Fraction(base**times)


def _divide(left: Fraction, right: Fraction, sign: str) -> Fraction:
    if right == 0:
        raise ArithmeticRefusedError("That divides by zero.")
    if sign == "/":
        return left / right
    return Fraction(left // right) if sign == "//" else left % right


def _by_float(function: Callable[..., float | complex], *values: Fraction) -> Fraction:
    try:
        result = function(*(float(value) for value in values))
        if isinstance(result, complex):
            raise ArithmeticRefusedError("That has no real value.")
        return Fraction(result)
    except (ValueError, ZeroDivisionError) as error:
        raise ArithmeticRefusedError("That has no real value.") from error
    except OverflowError as error:
        raise ArithmeticRefusedError("The numbers get too large.") from error


def _sqrt(value: Fraction) -> Fraction:
    if value >= 0:
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root * root == value:
            return root
    return _by_float(math.sqrt, value)


def _round(value: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    if digits.denominator != 1 or abs(digits) > 30:
        raise ArithmeticRefusedError("round takes a whole number of digits, at most 30.")
    return Fraction(round(value, digits.numerator))


def _floats(function: Callable[..., float]) -> Callable[..., Fraction]:
    return lambda *values: _by_float(function, *values)


FUNCTIONS: dict[str, tuple[int, int, Callable[..., Fraction]]] = {
    "abs": (1, 1, abs),
    "ceil": (1, 1, lambda x: Fraction(math.ceil(x))),
    "cos": (1, 1, _floats(math.cos)),
    "exp": (1, 1, _floats(math.exp)),
    "floor": (1, 1, lambda x: Fraction(math.floor(x))),
    "ln": (1, 1, _floats(math.log)),
    "log": (1, 2, _floats(math.log)),
    "max": (1, 20, lambda *xs: max(xs)),
    "min": (1, 20, lambda *xs: min(xs)),
    "round": (1, 2, _round),
    "sin": (1, 1, _floats(math.sin)),
    "sqrt": (1, 1, _sqrt),
    "tan": (1, 1, _floats(math.tan)),
}
"""Name: fewest and most arguments, and the function."""


class _Reader:
    """Precedence climbing over the tokens; each method computes what it has read."""

    def __init__(self, tokens: list[str]):
        self._tokens = tokens
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if not token or (wanted and token not in wanted):
            return ""
        self._at += 1
        return token

    def end(self) -> None:
        if self._peek():
            raise ArithmeticRefusedError(f"I did not expect {self._peek()!r} there.")

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while sign := self._take("+", "-"):
            right = self._product(depth)
            value = _bounded(value + right if sign == "+" else value - right)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while sign := self._take("*", "/", "//", "%"):
            right = self._signed(depth)
            value = _bounded(value * right if sign == "*" else _divide(value, right, sign))
        return value

    def _signed(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise ArithmeticRefusedError("That is nested too deeply.")
        if sign := self._take("-", "+"):
            value = self._signed(depth + 1)
            return -value if sign == "-" else value
        value = self._factorial(depth)
        if self._take("**", "^"):
            return _bounded(_power(value, self._signed(depth + 1)))
        return value

    def _factorial(self, depth: int) -> Fraction:
        value = self._atom(depth)
        while self._take("!"):
            if value.denominator != 1 or not 0 <= value <= 200:
                raise ArithmeticRefusedError("A factorial takes a whole number from 0 to 200.")
            value = _bounded(Fraction(math.factorial(value.numerator)))
        return value

    def _atom(self, depth: int) -> Fraction:
        word = self._take()
        if not word:
            raise ArithmeticRefusedError("The expression ends too early.")
        if word[0].isdigit() or word[0] == ".":
            return _bounded(Fraction(word))
        if word == "(":
            value = self.sum(depth + 1)
            self._close()
            return value
        if word.lower() in FUNCTIONS:
            return self._call(word.lower(), depth)
        if word.lower() in _NAMES:
            return _NAMES[word.lower()]
        raise ArithmeticRefusedError(
            f"I did not expect {word!r} there. Known functions: {', '.join(FUNCTIONS)}."
        )

    def _call(self, name: str, depth: int) -> Fraction:
        fewest, most, function = FUNCTIONS[name]
        if not self._take("("):
            raise ArithmeticRefusedError(f"{name} needs parentheses: {name}(…).")
        values = [self.sum(depth + 1)]
        while self._take(","):
            values.append(self.sum(depth + 1))
        self._close()
        if not fewest <= len(values) <= most:
            raise ArithmeticRefusedError(f"{name} takes {fewest} to {most} numbers.")
        return _bounded(function(*values))

    def _close(self) -> None:
        if not self._take(")"):
            raise ArithmeticRefusedError("A closing parenthesis is missing.")
