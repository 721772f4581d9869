"""How much a person and a room may ask, and what is said to who asks for more. Pure: counts and
times come in, a verdict goes out. No limit until one is set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Any, Final, Literal

import msgspec

from antiphon.core.chat_settings import LIMITS, SETTINGS
from antiphon.core.ids import RoomId, UserId
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000

Whose = Literal["user", "room"]
LimitName = Literal["turns_per_minute", "queued_turns", "tokens_per_day"]


class Limits(msgspec.Struct, frozen=True):
    """What one person or one room may use; None: no limit."""

    turns_per_minute: int | None = None
    queued_turns: int | None = None
    tokens_per_day: int | None = None

    @property
    def none(self) -> bool:
        """Whether nothing is limited, so that nothing need be counted."""
        return self == Limits()


class Counts(msgspec.Struct, frozen=True):
    """What one person or one room has used. `accepted_ms`: when each of their questions of the
    last minute was accepted (older ones may be among them; what was refused never is); `queued`:
    accepted questions that have no answer yet; `tokens_today`: since `day_start_ms`."""

    accepted_ms: tuple[int, ...] = ()
    queued: int = 0
    tokens_today: int = 0


class TooMuch(msgspec.Struct, frozen=True):
    """A question that is over a limit and is not accepted. `until_ms`: when the limit lets the next
    one through, None where that depends on answers still to come. `sentence`: for the person.
    `note_key`: say it once for each key, so that a flood does not get a flood of notes."""

    whose: Whose
    limit: LimitName
    until_ms: int | None
    sentence: str
    note_key: str


def day_start_ms(now_ms: int) -> int:
    """When the day of `now_ms` began (UTC), in milliseconds since the epoch."""
    return now_ms - now_ms % DAY_MS


def person_limits(rules: Rules, surface: str, user_id: UserId) -> Limits:
    """What a person may use wherever they ask: their own limits, else those of the surface, of the
    platform, of the settings file."""
    return _limits(
        rules.base,
        rules.of_scope(Scope("platform")),
        rules.of_scope(Scope("surface", surface)),
        rules.of_scope(Scope("user", surface, user_id)),
    )


def room_limits(rules: Rules, surface: str, room: RoomId) -> Limits:
    """What everybody in a room may use together: only what is set for that room."""
    return _limits(rules.of_scope(Scope("room", surface, room)))


def judge(
    now_ms: int, person: tuple[Limits, Counts], room: tuple[Limits, Counts]
) -> TooMuch | None:
    """Whether one more question is over a limit of the person or the room: the one that lasts
    longest; None: it is accepted."""
    found = [
        verdict
        for whose, (limits, counts) in (("user", person), ("room", room))
        if (verdict := _over(now_ms, "user" if whose == "user" else "room", limits, counts))
    ]
    return max(found, key=_lasts, default=None)


def in_words(milliseconds: int) -> str:
    """A span of time for a person, never shorter than it is: `23 seconds`, `3 h 12 min`."""
    seconds = max(1, -(-milliseconds // 1000))
    if seconds < 120:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = -(-seconds // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} h {minutes % 60} min"


def _limits(*layers: Mapping[str, Any]) -> Limits:
    """Of each limit the last layer's that has a good one."""
    values: dict[str, int] = {}
    for layer in layers:
        for name in LIMITS:
            value, setting = layer.get(name), SETTINGS[name]
            if type(value) is int and setting.least <= value <= setting.most:
                values[name] = value
    return Limits(**values)


def _over(now_ms: int, whose: Whose, limits: Limits, counts: Counts) -> TooMuch | None:
    you, your = ("You", "your") if whose == "user" else ("This room", "this room's")
    have = "have" if whose == "user" else "has"
    tokens, turns, queued = limits.tokens_per_day, limits.turns_per_minute, limits.queued_turns
    if tokens is not None and counts.tokens_today >= tokens:
        until = day_start_ms(now_ms) + DAY_MS
        return TooMuch(
            whose,
            "tokens_per_day",
            until,
            f"{you} {have} used up {your} {tokens:,} tokens of today. It goes on at 00:00 UTC, "
            f"in {in_words(until - now_ms)}.",
            f"{whose}:tokens_per_day:{until}",
        )
    if turns is not None:
        recent = sorted(at for at in counts.accepted_ms if at > now_ms - MINUTE_MS)
        if len(recent) >= turns:
            until = recent[len(recent) - turns] + MINUTE_MS
            asked = "1 question" if turns == 1 else f"{turns} questions"
            return TooMuch(
                whose,
                "turns_per_minute",
                until,
                f"{you} may ask {asked} in a minute. Please ask again in "
                f"{in_words(until - now_ms)}; this one is not answered.",
                f"{whose}:turns_per_minute:{now_ms // MINUTE_MS}",
            )
    if queued is not None and counts.queued >= queued:
        waiting = "1 question" if queued == 1 else f"{queued} questions"
        of = "of yours " if whose == "user" else "in this room "
        is_are = "is" if queued == 1 else "are"
        return TooMuch(
            whose,
            "queued_turns",
            None,
            f"{waiting} {of}{is_are} waiting for an answer, and no more may. Please ask again when "
            "one is answered; this one is not.",
            f"{whose}:queued_turns:{now_ms // MINUTE_MS}",
        )
    return None


def _lasts(verdict: TooMuch) -> int:
    return -1 if verdict.until_ms is None else verdict.until_ms


# --- fairness -------------------------------------------------------------------------------------


class Waiting(msgspec.Struct, frozen=True):
    """A lane whose next turn could begin; `user`: whose turn that is; `since`: anything that grows
    with each that begins to wait."""

    lane: str
    user: UserId
    since: int


def next_of(
    waiting: Iterable[Waiting],
    running: Mapping[UserId, int],
    served: Mapping[UserId, int],
    most: int,
) -> Waiting | None:
    """Which lane goes next where at most `most` turns run at once; None: nobody may now, or nobody
    waits. `running`: turns that run, by user; `served`: when each user's last turn began (any
    growing number).

    Fair between people, not between lanes: first who has the fewest turns running, then who has
    waited longest since their last one, then who came first. So somebody who asks in a hundred
    rooms delays nobody else by more than one turn for each that ends."""
    if sum(running.values()) >= most:
        return None
    return min(
        waiting,
        key=lambda w: (running.get(w.user, 0), served.get(w.user, -1), w.since, w.lane),
        default=None,
    )


class Turnstile:
    """`next_of` with the counting, in little time however many wait: whoever has a lane that could
    go on calls `wait`, lets those go on that `admit` gives, and calls `done` when the turn ended.
    Keeps no trace of idle users."""

    def __init__(self, most: int):
        """`most`: turns that may run at once, at least 1."""
        self._most = max(1, most)
        self._waiting: dict[str, Waiting] = {}
        self._lines: dict[UserId, dict[str, Waiting]] = {}
        """The lanes of each user that wait, the first to come first."""
        self._running: dict[str, UserId] = {}
        self._counts: dict[UserId, int] = {}
        self._served: dict[UserId, int] = {}
        self._heap: list[_Rank] = []
        """The rank of each user's first lane, and ranks that are none any more."""
        self._tick = 0

    def wait(self, lane: str, user: UserId) -> None:
        """The lane could begin a turn of `user`. Again before it went on: it keeps its place,
        unless the turn is another's now."""
        if lane in self._running:
            raise ValueError("this lane has a turn running")
        known = self._waiting.get(lane)
        if known is not None and known.user == user:
            return
        self.leave(lane)
        self._tick += 1
        self._waiting[lane] = Waiting(lane, user, self._tick)
        self._lines.setdefault(user, {})[lane] = self._waiting[lane]
        self._rank(user)

    def leave(self, lane: str) -> None:
        """The lane waits no more (its turn was withdrawn)."""
        known = self._waiting.pop(lane, None)
        if known is None:
            return
        line = self._lines[known.user]
        del line[lane]
        if line:
            self._rank(known.user)
        else:
            del self._lines[known.user]

    def admit(self) -> tuple[str, ...]:
        """The lanes that go on now."""
        admitted: list[str] = []
        while self._heap and len(self._running) < self._most:
            rank = heappop(self._heap)
            user = rank[-1]
            if rank != self._rank_of(user):
                continue
            lane = rank[-2]
            self._tick += 1
            self._running[lane] = user
            self._counts[user] = self._counts.get(user, 0) + 1
            self._served[user] = self._tick
            self.leave(lane)
            admitted.append(lane)
        return tuple(admitted)

    def done(self, lane: str) -> None:
        """The lane's turn ended; does nothing where none was running."""
        user = self._running.pop(lane, None)
        if user is None:
            return
        left = self._counts[user] - 1
        if left:
            self._counts[user] = left
        else:
            del self._counts[user]
        if user in self._lines:
            self._rank(user)
        if not self._waiting and not self._running:
            self._served.clear()
            self._heap.clear()

    @property
    def busy(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def _rank(self, user: UserId) -> None:
        """The user's rank has changed; what the heap had of them does not count any more."""
        rank = self._rank_of(user)
        if rank is not None:
            heappush(self._heap, rank)

    def _rank_of(self, user: UserId) -> _Rank | None:
        first = next(iter(self._lines.get(user, {}).values()), None)
        if first is None:
            return None
        count, served = self._counts.get(user, 0), self._served.get(user, -1)
        return count, served, first.since, first.lane, user


_Rank = tuple[int, int, int, str, UserId]
"""Turns that run, when the last began, since when the first waits, its lane, and whose it is."""
