"""What to do when a child has ended: a pure decision."""

from __future__ import annotations

import msgspec

from antiphon.errors import EXIT_FAILED, EXIT_USAGE, AntiphonError


class ChildEndedError(AntiphonError):
    """A child ended in a way that starting it again would only repeat; carries its sentence and
    its exit code."""

    code = "child_ended"

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class Backoff(msgspec.Struct, frozen=True):
    """Seconds between restarts: doubling from `first_s` to `most_s`; a child that has lived for
    `healthy_s` begins anew. `first_tries`: deaths before it was ever ready after which there are
    no more (None: it is tried for ever, for what it waits for may come later)."""

    first_s: float = 1.0
    most_s: float = 30.0
    healthy_s: float = 60.0
    first_tries: int | None = None


class Death(msgspec.Struct, frozen=True):
    """A child ended though nobody asked it to, and is started again after `restart_in_s`.
    `exit_code` is negative for a signal; `error` is the sentence that it left, if any."""

    child: str
    exit_code: int
    error: str
    restart_in_s: float


class Restart(msgspec.Struct, frozen=True):
    """Start it again after `delay_s`; `failures` counts the deaths in a row, this one included."""

    delay_s: float
    failures: int


class GiveUp(msgspec.Struct, frozen=True):
    """Starting again would not help: its settings are wrong."""

    exit_code: int


def after_exit(
    exit_code: int, lived_s: float, failures: int, backoff: Backoff, *, was_ready: bool = True
) -> Restart | GiveUp:
    """What follows the end of a child nobody asked to stop. `failures`: deaths in a row so far;
    `was_ready`: whether it ever was."""
    if exit_code == EXIT_USAGE:
        return GiveUp(exit_code)
    tries = backoff.first_tries
    if not was_ready and tries is not None and failures + 1 >= tries:
        return GiveUp(EXIT_FAILED)
    before = 0 if lived_s >= backoff.healthy_s else failures
    # The exponent is bounded, so that a child that dies for a year makes no huge number.
    delay = min(backoff.most_s, backoff.first_s * 2.0 ** min(before, 32))
    return Restart(delay, before + 1)
