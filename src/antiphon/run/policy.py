"""What to do when a child has ended: a pure decision."""

from __future__ import annotations

import msgspec

from antiphon.errors import EXIT_USAGE, AntiphonError


class ChildEndedError(AntiphonError):
    """A child ended in a way that starting it again would only repeat; carries its sentence and
    its exit code."""

    code = "child_ended"

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class Backoff(msgspec.Struct, frozen=True):
    """Seconds between restarts: doubling from `first_s` to `most_s`; a child that has lived for
    `healthy_s` begins anew."""

    first_s: float = 1.0
    most_s: float = 30.0
    healthy_s: float = 60.0


class Restart(msgspec.Struct, frozen=True):
    """Start it again after `delay_s`; `failures` counts the deaths in a row, this one included."""

    delay_s: float
    failures: int


class GiveUp(msgspec.Struct, frozen=True):
    """Starting again would not help: its settings are wrong."""

    exit_code: int


def after_exit(exit_code: int, lived_s: float, failures: int, backoff: Backoff) -> Restart | GiveUp:
    """What follows the end of a child nobody asked to stop. `failures`: deaths in a row so far."""
    if exit_code == EXIT_USAGE:
        return GiveUp(exit_code)
    before = 0 if lived_s >= backoff.healthy_s else failures
    # The exponent is bounded, so that a child that dies for a year makes no huge number.
    delay = min(backoff.most_s, backoff.first_s * 2.0 ** min(before, 32))
    return Restart(delay, before + 1)
