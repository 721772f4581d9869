"""Breaks the loop of two bots that answer each other, without catching people. Pure.

The numbers and why a person practically never meets them: docs/decisions/0028-loop-breaker.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from antiphon.core.ids import UserId
from antiphon.core.limits import in_words

REFLEX_MS: Final = 1_000
"""A message so soon after the first words of our answer is no reaction of a person's."""

TYPED_LENGTH: Final = 40
TYPING_CHARS_PER_S: Final = 25
"""A message of more than `TYPED_LENGTH` characters, written faster than this since the first words
of our answer, was not typed (fast typists reach 10, the record is about 18): a bot's, or pasted."""

PAUSE_MS: Final = 10_000
"""Who never takes longer than this to go on is tireless."""


class Row(msgspec.Struct, frozen=True):
    """So many messages in a row, of up to `company` senders and all of this kind, are a loop."""

    kind: Literal["reflex", "untyped", "tireless"]
    company: int
    count: int


ROWS: Final = (
    Row("reflex", 1, 8),
    Row("reflex", 3, 12),
    Row("untyped", 3, 24),
    Row("tireless", 1, 60),
)

HISTORY: Final = max(row.count for row in ROWS)
"""How many of a chat's last exchanges `judge` looks at."""

QUIET_MS: Final = 10 * 60_000
QUIET_MOST_MS: Final = 24 * 3_600_000
"""How long nothing of those senders is answered: first, and at most (it doubles each time)."""


class Exchange(msgspec.Struct, frozen=True):
    """One turn of a chat. Times by our own clock: `asked_ms` when the message was read,
    `shown_ms` when the first words of the answer stood in the room (None: not yet); `length`: the
    message's characters."""

    sender: UserId
    asked_ms: int
    shown_ms: int | None
    length: int


class Asked(msgspec.Struct, frozen=True):
    """A message that would begin a turn. `marked`: it says of itself that a bot wrote it."""

    sender: UserId
    at_ms: int
    length: int
    marked: bool = False


class Quiet(msgspec.Struct, frozen=True):
    """A loop that was broken: nothing of `senders` is answered in this chat until `until_ms`;
    `times`: how often it was."""

    senders: tuple[UserId, ...]
    until_ms: int
    times: int = 1


class Verdict(msgspec.Struct, frozen=True):
    """`answer`: the message may begin a turn. `note`: say this once, as a notice. `quiet`: keep
    this from now on, in place of what was kept for the chat."""

    answer: bool
    note: str = ""
    quiet: Quiet | None = None


def judge(asked: Asked, history: Sequence[Exchange], quiet: Quiet | None = None) -> Verdict:
    """Whether a message may begin a turn. `history`: the chat's last exchanges, the oldest first,
    at least `HISTORY` of them where there are so many; `quiet`: what was kept for the chat."""
    if asked.marked:
        return Verdict(answer=False)
    since = 0
    if quiet is not None:
        if asked.at_ms < quiet.until_ms:
            if asked.sender in quiet.senders:
                return Verdict(answer=False)
        else:
            since = quiet.until_ms
    recent = [exchange for exchange in history[-HISTORY:] if exchange.asked_ms >= since]
    caught = _caught(asked, recent)
    if not caught:
        return Verdict(answer=True)
    times = 1 if quiet is None else quiet.times + 1
    length = min(QUIET_MS * 2 ** min(times - 1, 16), QUIET_MOST_MS)
    senders = (
        caught if quiet is None or asked.at_ms >= quiet.until_ms else caught | {*quiet.senders}
    )
    return Verdict(
        answer=False,
        note="This looks like two bots answering each other, so I stop answering "
        f"{'them' if len(caught) > 1 else 'this account'} here for {in_words(length)}. "
        "Everybody else can go on.",
        quiet=Quiet(tuple(sorted(senders)), asked.at_ms + length, times),
    )


def _caught(asked: Asked, recent: Sequence[Exchange]) -> frozenset[UserId]:
    """The senders of the loop that `asked` closes; empty where it closes none."""
    said = (*recent, Exchange(asked.sender, asked.at_ms, None, asked.length))
    gaps = _gaps(said)
    for row in ROWS:
        last = tuple(zip(said, gaps, strict=True))[-row.count :]
        senders = frozenset(exchange.sender for exchange, _ in last)
        if (
            len(last) == row.count
            and len(senders) <= row.company
            and all(gap is not None and _fits(row, gap, exchange.length) for exchange, gap in last)
        ):
            return senders
    return frozenset()


def _fits(row: Row, gap_ms: int, length: int) -> bool:
    """Whether a message of `length`, so long after our first words, is of the row's kind."""
    if row.kind == "tireless":
        return gap_ms <= PAUSE_MS
    untyped = length > TYPED_LENGTH and length * 1000 > TYPING_CHARS_PER_S * gap_ms
    return gap_ms < REFLEX_MS or (row.kind == "untyped" and untyped)


def _gaps(said: Sequence[Exchange]) -> list[int | None]:
    """For each exchange the milliseconds since the newest answer of ours that stood in the room
    before it was asked; None where there was none."""
    gaps: list[int | None] = []
    shown: list[int] = []
    for exchange in said:
        before = next((at for at in reversed(shown) if at <= exchange.asked_ms), None)
        gaps.append(None if before is None else exchange.asked_ms - before)
        if exchange.shown_ms is not None:
            shown.append(exchange.shown_ms)
    return gaps
