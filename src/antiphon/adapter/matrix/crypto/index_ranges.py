"""Sets of message numbers as a short text: `0-99,120,130-131`. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def contains(ranges: str, number: int) -> bool:
    """Whether the number is in the set."""
    return any(first <= number <= last for first, last in _parsed(ranges))


def added(ranges: str, numbers: Iterable[int]) -> str:
    """The set with these numbers too."""
    found = sorted([*_parsed(ranges), *((number, number) for number in numbers)])
    merged: list[tuple[int, int]] = []
    for first, last in found:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def _parsed(ranges: str) -> list[tuple[int, int]]:
    found = []
    for piece in ranges.split(",") if ranges else ():
        first, _, last = piece.partition("-")
        found.append((int(first), int(last or first)))
    return found
