"""What a backup holds, for people and programs. Pure."""

from __future__ import annotations

import msgspec

COUNTS = {
    "rooms": "room",
    "turns": "turn",
    "chats": "chat",
    "sessions": "session",
    "memories": "memory",
}
"""What is counted, and one of it."""


class BackupReport(msgspec.Struct, frozen=True):
    """A backup that was written. `counts`: of rooms that we are in, turns, chats, sessions, and
    memories (of the agent's) that are in it. `memory`: whether memories were asked for."""

    path: str
    size: int
    created: str
    account: str
    device: str
    counts: dict[str, int]
    memory: bool

    def as_json(self) -> bytes:
        """One JSON object; its keys are stable."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def lines(self) -> list[str]:
        """For people."""
        held = described(self.counts)
        lines = [f"Wrote {self.path} ({readable(self.size)}): {held}, of {self.account}."]
        if not self.memory:
            lines.append("The chats' memories are not in it (--without-memory).")
        lines.append(f"To put it back: antiphon matrix restore {self.path}")
        return lines


def described(counts: dict[str, int]) -> str:
    """The counts in words."""
    found = [(counts[many], one, many) for many, one in COUNTS.items() if many in counts]
    return ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in found)


def readable(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / 1_000_000:.1f} MB" if number >= 100_000 else f"{number / 1000:.1f} kB"
