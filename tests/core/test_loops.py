"""Two bots that answer each other are stopped with one note; people are not."""

import random

import pytest

from antiphon.core.ids import UserId
from antiphon.core.loops import (
    QUIET_MOST_MS,
    QUIET_MS,
    ROWS,
    Asked,
    Exchange,
    Quiet,
    Verdict,
    judge,
)

BOT, ADA = UserId("@other.bot:x"), UserId("@ada:x")
NOW = 1_700_000_000_000
REFLEX, TOGETHER, UNTYPED, TIRELESS = (row.count for row in ROWS)


class Room:
    """A chat in which every message that may is answered after `takes_ms`."""

    def __init__(self) -> None:
        self.now = NOW
        self.history: list[Exchange] = []
        self.quiet: Quiet | None = None
        self.notes: list[str] = []
        self.answered = 0

    def says(
        self,
        sender: UserId,
        after_ms: int,
        length: int = 20,
        takes_ms: int = 700,
        bot: bool = False,
    ) -> Verdict:
        self.now += after_ms
        verdict = judge(Asked(sender, self.now, length, bot), self.history, self.quiet)
        if verdict.quiet is not None:
            self.quiet = verdict.quiet
        if verdict.note:
            self.notes.append(verdict.note)
        if verdict.answer:
            asked = self.now
            self.now += takes_ms
            self.answered += 1
            self.history.append(Exchange(sender, asked, self.now, length))
        return verdict


def test_a_bot_that_answers_by_reflex_is_stopped_with_one_note() -> None:
    room = Room()
    for _ in range(50):
        room.says(BOT, 200)
    assert room.answered == REFLEX
    assert len(room.notes) == 1
    assert "10 minutes" in room.notes[0]


def test_a_bot_that_thinks_for_a_while_and_writes_much_is_stopped() -> None:
    room = Room()
    for _ in range(60):
        room.says(BOT, 8_000, length=900)
    # The first message of all follows no answer of ours.
    assert room.answered == UNTYPED
    assert len(room.notes) == 1


def test_a_slow_bot_of_few_words_is_stopped_later() -> None:
    room = Room()
    for _ in range(100):
        room.says(BOT, 9_000, length=10)
    assert room.answered == TIRELESS
    assert len(room.notes) == 1


def test_three_bots_in_a_ring_are_stopped() -> None:
    room = Room()
    bots = [UserId(f"@bot{n}:x") for n in range(3)]
    for n in range(60):
        room.says(bots[n % 3], 300)
    assert room.answered == TOGETHER
    assert len(room.notes) == 1
    assert room.quiet is not None
    assert room.quiet.senders == tuple(bots)


def test_others_are_answered_while_it_is_quiet() -> None:
    room = Room()
    for _ in range(20):
        room.says(BOT, 200)
    assert room.says(ADA, 5_000).answer
    assert not room.says(BOT, 200).answer
    assert room.says(ADA, 60_000).answer


def test_the_quiet_ends_and_is_longer_the_next_time() -> None:
    room = Room()
    quiet_for = []
    for _ in range(12):
        while not room.says(BOT, 200).note:
            pass
        assert room.quiet is not None
        quiet_for.append(room.quiet.until_ms - room.now)
        assert not room.says(BOT, room.quiet.until_ms - room.now - 1).answer
        assert room.says(BOT, 1).answer, "what was before the quiet does not count again"
    assert quiet_for[:3] == [QUIET_MS, 2 * QUIET_MS, 4 * QUIET_MS]
    assert max(quiet_for) == QUIET_MOST_MS


def test_what_says_that_it_is_a_bots_is_left_alone_without_a_word() -> None:
    room = Room()
    assert room.says(BOT, 60_000, bot=True) == Verdict(answer=False)


@pytest.mark.parametrize("seed", range(40))
def test_people_are_never_stopped(seed: int) -> None:
    """Fast typists and readers, who ask by the hundred, paste now and then, and write several
    messages while an answer comes."""
    dice = random.Random(seed)
    room = Room()
    for _ in range(400):
        length = dice.choice((3, 10, 25, 60, 120))
        typed = int(length / dice.uniform(3, 12) * 1000)
        pause = int(dice.expovariate(1 / 6_000)) + dice.randint(300, 1_500)
        if dice.random() < 0.15:
            length, typed = 3_000, 800  # pasted
        assert room.says(ADA, typed + pause, length, takes_ms=dice.randint(100, 4_000)).answer
    assert room.notes == []


def test_a_person_who_sends_many_lines_at_once_is_not_stopped() -> None:
    """They were written before any answer stood there: no reaction to one."""
    history = [Exchange(ADA, NOW + n * 300, NOW + 60_000 + n, 30) for n in range(40)]
    assert judge(Asked(ADA, NOW + 40 * 300, 30), history).answer


def test_a_busy_room_is_not_stopped() -> None:
    """Twenty people, a message every second: often one comes right after an answer."""
    dice = random.Random(7)
    room = Room()
    people = [UserId(f"@p{n}:x") for n in range(20)]
    for _ in range(2_000):
        assert room.says(dice.choice(people), int(dice.expovariate(1 / 1_000))).answer


def test_one_pause_ends_the_count() -> None:
    room = Room()
    for _ in range(20):
        for _ in range(REFLEX - 2):
            assert room.says(BOT, 100).answer
        assert room.says(BOT, 30_000).answer
