"""What a message to the offline assistant asks for, read by patterns. Pure; it never guesses:
what fits no pattern is `Unknown`."""

from __future__ import annotations

import re

import msgspec


class AskTime(msgspec.Struct, frozen=True):
    """The time or the date, perhaps somewhere."""

    zone: str | None = None


class Calculate(msgspec.Struct, frozen=True):
    """The value of an expression."""

    expression: str


class Remember(msgspec.Struct, frozen=True):
    """Keep a note."""

    text: str


class AskNotes(msgspec.Struct, frozen=True):
    """The notes of this thread."""


class Search(msgspec.Struct, frozen=True):
    """Earlier messages with these words."""

    words: str


class Tell(msgspec.Struct, frozen=True):
    """The author says something of themselves: their `subject` (such as `name`) is `value`."""

    subject: str
    value: str


class Ask(msgspec.Struct, frozen=True):
    """The author asks what they said their `subject` is."""

    subject: str


class Echo(msgspec.Struct, frozen=True):
    """Say this."""

    text: str


class Count(msgspec.Struct, frozen=True):
    """How many messages there are."""


class Help(msgspec.Struct, frozen=True):
    """What the assistant is and can do."""


class Greet(msgspec.Struct, frozen=True):
    """A greeting, or thanks."""

    word: str


class Unknown(msgspec.Struct, frozen=True):
    """Anything else."""


Intent = (
    AskTime
    | Calculate
    | Remember
    | AskNotes
    | Search
    | Tell
    | Ask
    | Echo
    | Count
    | Help
    | Greet
    | Unknown
)

_I = re.IGNORECASE | re.DOTALL
_TAIL = r"[\s?.!]*$"

_ECHO = re.compile(r"^(?:please\s+)?(?:repeat(?: after me)?|echo|say)\b\s*:?\s+(.+)$", _I)
_NOTES = re.compile(
    r"^(?:(?:what are|show|list|read|tell|give)\s+(?:me\s+)?)?(?:all\s+)?(?:of\s+)?my notes" + _TAIL
    + r"|^(?:show|list|read)\s+(?:me\s+)?(?:the\s+|all\s+)*notes" + _TAIL
    + r"|^notes" + _TAIL
    + r"|^what (?:did i|have i) (?:asked? you to|told? you to)?\s*(?:remember|note)\w*" + _TAIL,
    _I,
)  # fmt: skip
_REMEMBER = re.compile(
    r"^(?:please\s+|can you\s+|could you\s+)?"
    r"(?:remember|note(?: down)?|take a note|make a note|keep in mind|write down)\b"
    r"\s*(?:that\b|of\b)?\s*:?\s*(.+)$",
    _I,
)
_SEARCH = re.compile(
    r"^(?:please\s+)?(?:search|look|find)(?:\s+(?:for|up|about|our messages for))*"
    r"\s+(?!me\b)(.+?)" + _TAIL
    + r"|^(?:what|when) (?:did|have) (?:i|we|you) (?:say|said|told? you|talk(?:ed)?|mention(?:ed)?)"
    r"\s+(?:about|of|on)\s+(.+?)" + _TAIL
    + r"|^(?:did|have) (?:i|we) (?:mention|mentioned|talk about|talked about)\s+(.+?)" + _TAIL,
    _I,
)  # fmt: skip
_ARTICLE = re.compile(r"^(?:the|a|an|my|our)\s+(?=\S)", _I)
_ASK = re.compile(
    r"^(?:(?:do you (?:know|remember)|can you tell me|tell me|and|so)[\s,]+)*"
    r"what(?:'s|\u2019s| is| are| was)\s+my\s+([\w' -]{1,40}?)" + _TAIL
    + r"|^(?:do you (?:know|remember)|tell me)\s+my\s+([\w' -]{1,40}?)" + _TAIL,
    _I,
)  # fmt: skip
_WHO_AM_I = re.compile(r"^(?:and |so )?who am i" + _TAIL, _I)
_TELL = re.compile(
    r"\bmy\s+([\w'-]+(?:\s[\w'-]+){0,3}?)\s+(?:is|are)\s+"
    r"([^\n.!?;]{1,100}?)(?=,?\s+and my\s|[.!?;](?:\s|$)|\n|$)",
    re.IGNORECASE,
)
_CALL_ME = re.compile(r"\b(?:call me|i am called|i'm called)\s+([^\s.,!?;][^.,!?;\n]{0,60})", _I)
_HELP = re.compile(
    r"^(?:help|\?|commands|what can you do|what (?:do|can) (?:you|i) (?:do|ask).*|who are you|"
    r"what are you|how do you work)" + _TAIL,
    _I,
)
_GREET = re.compile(
    r"^(hello|hi|hey|good (?:morning|evening|afternoon)|thanks|thank you|ping)\b[\s\w]{0,30}"
    + _TAIL,
    _I,
)
_COUNT = re.compile(r"^(?:how many|count)\s+(?:of\s+)?(?:the\s+|our\s+|my\s+)?messages\b.*$", _I)
_TIME = re.compile(
    r"^(?:please\s+)?(?:can you |could you )?(?:tell me |give me )?"
    r"(?:(?:what(?:'s|\u2019s| is)?|which|the|current|today(?:'s|\u2019s)?)\s+)*"
    r"(?:time|date|day|clock|weekday)\b"
    r"(?:\s+(?:is it|is today|today|now|right now|it is|and date|and time|of today))*"
    r"(?:\s+in\s+(?P<zone>[\w/ +-]{2,40}?))?(?:\s+(?:now|right now|today))?" + _TAIL,
    _I,
)

_ASK_NUMBER = re.compile(
    r"^(?:please\s+)?(?:what(?:'s|\u2019s| is| are)?|how much is|calculate|compute|evaluate|solve)"
    r"\s+(.+)$",
    _I,
)
_WORDS = (
    (re.compile(r"\bplus\b", _I), "+"),
    (re.compile(r"\bminus\b", _I), "-"),
    (re.compile(r"\b(?:times|multiplied by)\b", _I), "*"),
    (re.compile(r"\b(?:divided by|over)\b", _I), "/"),
    (re.compile(r"\bto the power of\b", _I), "^"),
    (re.compile(r"\bsquared\b", _I), "^2"),
    (re.compile(r"\bmod(?:ulo)?\b", _I), "%"),
    (re.compile(r"(?:the )?square root of\s+(\d+(?:\.\d+)?)", _I), r"sqrt(\1)"),
    (re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s*of\b", _I), r"\1/100*"),
    (re.compile(r"(?<=\d)\s*x\s*(?=\d)", _I), "*"),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
)
_SUM = re.compile(
    r"^(?=.*\d)(?:[\d\s+*/%^().,!\u00d7\u00b7\u00f7\u2212-]"
    r"|\b(?:sqrt|abs|round|floor|ceil|min|max|sin|cos|tan|exp|ln|log|pi|e)\b)+$",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d$")
_OPERATION = re.compile(r"[+*/%^(!\u00d7\u00b7\u00f7\u2212]|\d\s*-")


def parse(text: str) -> Intent:
    """What `text` asks for."""
    text = text.strip()
    if found := _ECHO.match(text):
        return Echo(found.group(1).strip())
    if _NOTES.match(text):
        return AskNotes()
    if found := _REMEMBER.match(text):
        return Remember(found.group(1).strip())
    if found := _SEARCH.match(text):
        words = next(group for group in found.groups() if group is not None)
        return Search(_ARTICLE.sub("", words).strip("\"'\u201c\u201d "))
    if found := _ASK.match(text):
        return Ask(subject(found.group(1) or found.group(2)))
    if _WHO_AM_I.match(text):
        return Ask("name")
    return _sum(text) or _phrase(text) or _told(text) or Unknown()


def _phrase(text: str) -> Intent | None:
    if found := _TIME.match(text):
        return AskTime(found.group("zone"))
    if _COUNT.match(text):
        return Count()
    if _HELP.match(text):
        return Help()
    if found := _GREET.match(text):
        return Greet(found.group(1).lower())
    return None


def _sum(text: str) -> Calculate | None:
    """A sum, asked for in words or standing alone; after `calculate`, whatever follows."""
    asked = _ASK_NUMBER.match(text)
    rest = (asked.group(1) if asked else text).rstrip(" ?=.")
    for pattern, sign in _WORDS:
        rest = pattern.sub(sign, rest)
    if _SUM.match(rest) and _OPERATION.search(rest) and not _DATE.match(rest):
        return Calculate(rest.strip())
    if asked and re.match(r"(?:please\s+)?(?:calculate|compute|evaluate)\b", text, _I):
        return Calculate(rest.strip())
    return None


def _told(text: str) -> Tell | None:
    said = tellings(text)
    if text.endswith("?") or not said:
        return None
    return next((tell for tell in said if tell.subject == "name"), said[-1])


def tellings(text: str) -> list[Tell]:
    """All that an author says of themselves in `text`, in order."""
    found = [
        (m.start(), Tell(subject(m.group(1)), m.group(2).strip())) for m in _TELL.finditer(text)
    ]
    found += [(m.start(), Tell("name", m.group(1).strip())) for m in _CALL_ME.finditer(text)]
    return [tell for _, tell in sorted(found, key=lambda pair: pair[0])]


def subject(text: str) -> str:
    """`Favourite  Colour` and `favourite colour` are one subject."""
    return " ".join(text.lower().split())
