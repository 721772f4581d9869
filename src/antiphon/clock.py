"""Time and chance as ports, so that tests own them. A leaf: imports nothing of Antiphon."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for it."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch (UTC). May step back: never order by it."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds` (at once, but yielding, when that is 0 or less)."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class Chance(Protocol):
    """Where randomness comes from."""

    def token(self) -> str:
        """At least 128 unguessable bits, URL-safe text."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1) for spreading retries."""
        ...


class SystemChance:
    """The operating system's source of randomness."""

    def token(self) -> str:
        return secrets.token_urlsafe(24)

    def jitter(self) -> float:
        return secrets.randbelow(1 << 30) / (1 << 30)
