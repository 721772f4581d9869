"""When an answer that grows is shown again, and what may be sent while the homeserver gives little.

Pure: time comes in as monotonic seconds, decisions go out as seconds to wait. `EditPacer` is for
one answer, `Budget` for all that the process sends.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

# --- one answer -----------------------------------------------------------------------------------


class EditState(msgspec.Struct, frozen=True):
    """What the room shows of one answer: the text, how many edits it took, and when the last send
    of it ended (None: nothing is shown yet)."""

    shown: str = ""
    edits: int = 0
    at: float | None = None


class EditPacer:
    """When the next part of an answer may be shown.

    The first words at once; then edits, `interval_s` after the first words and with a gap that
    grows by a steady factor, so that `max_edits` of them last for `spread_s` (1 s, 15 and 600 s:
    the gaps are 1.0, 1.5, 2.1, 3.1 … 183 s). Why so few: clients load every edit of a message,
    and the homeserver keeps them for ever. The final edit is not its business: it always goes."""

    def __init__(self, interval_s: float, max_edits: int, spread_s: float = 600.0):
        factor = _growth(interval_s, max_edits, spread_s)
        self.gaps: Final = tuple(interval_s * factor**index for index in range(max_edits))
        """Seconds between an edit and what was sent before it, in order."""

    def due(self, now: float, text: str, state: EditState) -> float | None:
        """Seconds until `text` may be shown, 0.0 for now; None when there is nothing to show (it
        is blank, or shown already) or all edits are used up."""
        if not text.strip() or text == state.shown:
            return None
        if state.at is None:
            return 0.0
        if state.edits >= len(self.gaps):
            return None
        return max(0.0, state.at + self.gaps[state.edits] - now)

    def sent(self, now: float, text: str, state: EditState) -> EditState:
        """The state when a send of `text` ended at `now` (so a slow homeserver gets fewer)."""
        return EditState(text, state.edits + (state.at is not None), now)


def _growth(first: float, count: int, total: float) -> float:
    """The factor, 1 to 4, for which `count` gaps from `first` on add up to `total` (or come
    nearest to it: few edits are rather used early than a minute apart)."""
    low, high = 1.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(first * middle**index for index in range(count)) < total and count > 1:
            low = middle
        else:
            high = middle
    return low


# --- everything that is sent ----------------------------------------------------------------------


class SendClass(IntEnum):
    """What a send is worth; the greater goes first."""

    PARTIAL = 0  # an edit on the way: dropped when it can't go now, a newer one comes
    NOTICE = 1  # what nobody asked for
    FIRST = 2  # the first words of an answer: held back, the final can take their place
    FINAL = 3  # a finished answer, an error, a command's reply: goes as soon as anything may


# While the limit is felt, how many more sends must be saved up before one of a class may go: so
# that the first words of one answer do not take the place of another's final.
_RESERVE = {SendClass.FINAL: 0, SendClass.FIRST: 2, SendClass.NOTICE: 3, SendClass.PARTIAL: 6}

_SAVED_UP = 8  # most sends that quiet time saves up; Synapse's default burst is 10
_PARTIALS_AT_ONCE = 4  # more under way at once mean a slow homeserver: shed them
_PROBE_AFTER = 5  # sends in a row without a 429 after which twice the rate is tried
_SHORTEST_GAP_S = 0.1  # a limit that does not matter any more
_LONGEST_GAP_S = 60.0  # between two sends, as a guess; what the server says is always kept
_MARGIN_S = 0.05  # servers round their times down


class Budget:
    """The process-wide budget of sends: what the homeserver gives, learned from its 429s.

    As long as there is none, everything may go. From the first 429 on it is *scarce*: the gap
    between two sends is learned (Synapse by default: 5 s after a burst of 10), one send goes at
    a time, and each class but finals needs more sends in reserve, at least as many as there are
    answers on the way (`owed`). So finals alone go, and in quiet times first words and then partial
    edits come back. After some sends
    without a 429 the double rate is tried, until the limit is gone or felt again; a 429 costs
    nothing but the request: its `retry_after_ms` says exactly when the next one goes.

    Whoever sends calls `started`, and then exactly one of `succeeded`, `limited`, `failed` and
    `unused`.
    Several senders may wait at once: each asks again after its wait, the first one takes the turn.
    """

    def __init__(self, gap_s: float = 0.0):
        """`gap_s`: what an earlier life has learned (its `gap_s`), 0 for nothing."""
        self.owed = 0
        """Answers that are being worked on, each of which will need a final: the sender keeps it
        up to date."""
        self._gap = gap_s
        self._ready = 0.0  # while scarce: when the next send is there
        self._last_success: float | None = None
        self._streak = 0
        self._partials = 0

    @property
    def scarce(self) -> bool:
        """Whether a limit is felt: typing should show what edits can't."""
        return self._gap > 0

    @property
    def gap_s(self) -> float:
        """Seconds between two sends, as far as is known; 0 for no limit."""
        return self._gap

    def wait(self, kind: SendClass, now: float) -> float:
        """Seconds until a send of this class may go if no other goes before; 0.0 for now. For a
        partial don't wait: drop it when `may_send` says no."""
        if not self.scarce:
            return 0.0
        reserve = 0 if kind is SendClass.FINAL else max(_RESERVE[kind], self.owed)
        return max(0.0, self._ready + reserve * self._gap - now)

    def may_send(self, kind: SendClass, now: float) -> bool:
        """Whether a send of this class may go now."""
        if kind is SendClass.PARTIAL and self._partials >= _PARTIALS_AT_ONCE:
            return False
        return self.wait(kind, now) == 0.0

    def started(self, kind: SendClass, now: float) -> None:
        """A send goes now."""
        self._partials += kind is SendClass.PARTIAL
        if self.scarce:
            self._ready = max(self._ready, now - _SAVED_UP * self._gap) + self._gap

    def succeeded(self, kind: SendClass, now: float) -> None:
        """The homeserver took it."""
        self._partials -= kind is SendClass.PARTIAL
        self._last_success = now
        if not self.scarce:
            return
        self._streak += 1
        if self._streak >= _PROBE_AFTER:
            self._streak = 0
            self._gap /= 2
            self._ready = min(self._ready, now + self._gap)
            if self._gap < _SHORTEST_GAP_S:
                self._gap = 0.0

    def limited(self, kind: SendClass, now: float, retry_after_ms: int) -> None:
        """The homeserver answered 429. The same send is repeated after `wait` (unless it is a
        partial); nothing goes before `retry_after_ms`, but what the server took already."""
        self._partials -= kind is SendClass.PARTIAL
        wait = max(0, retry_after_ms) / 1000 + _MARGIN_S
        self._ready = now + wait
        self._streak = 0
        # From the send that emptied the bucket to the next one that it will take: the gap itself.
        since = None if self._last_success is None else now - self._last_success
        gap = wait if since is None or since > _LONGEST_GAP_S else since + wait
        self._gap = min(max(gap, 2 * _SHORTEST_GAP_S), _LONGEST_GAP_S)

    def failed(self, kind: SendClass, now: float) -> None:
        """It ended otherwise: refused, timed out, cancelled. Says nothing about the limit."""
        self._partials -= kind is SendClass.PARTIAL

    def unused(self, kind: SendClass) -> None:
        """Nothing was sent after all: its place is there again."""
        self._partials -= kind is SendClass.PARTIAL
        if self.scarce:
            self._ready -= self._gap
