"""How a service uses the C library's memory: one arena, and what is freed goes back at once."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_TRIM_BYTES = 64 * 1024


def lean() -> None:
    """Asks glibc for one arena and an early trim; does nothing on other C libraries.

    By default each thread gets an arena of its own, which our few database threads fill with
    garbage: agent and adapter together took 247 MB instead of 218 (measured in one run)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
