"""The verifications that are going on: how many there may be, and what of them outlives a kill. It
sends nothing and decides nothing about keys (`verifier` does)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.sas import KeyAgreement
from antiphon.adapter.matrix.crypto.verification_messages import Flow
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Compare,
    Verification,
    Verified,
)

MOST_OPEN = 32
MOST_OF_ONE = 4
"""Verifications that are open at once, in all and of one person."""
MOST_REQUESTS = 10
PERIOD_MS = 600_000
"""Requests of one person that are answered within this time; further ones are left alone."""
MOST_ENDED = 256
MOST_PEOPLE = 1_000

_NAME = "verifications"


class Live(msgspec.Struct):
    """One verification of this process. `ours`: we asked, so it waits for a person's word;
    `shown` is what the two sides compare; `word`: a person here said that it is the same; `end` is
    what came out."""

    state: Verification
    ephemeral: KeyAgreement
    ours: bool
    shown: Compare | None = None
    word: bool = False
    end: Verified | Cancelled | None = None


class Left(msgspec.Struct, frozen=True):
    """What is kept of an open verification: enough to tell the other side that it is over."""

    flow: Flow
    user_id: str
    device_ids: tuple[str, ...] = ()


class Verifications:
    """The open ones, by flow, and the ended ones that late messages may still name."""

    def __init__(self, machine: CryptoMachine):
        self._machine = machine
        self._open: dict[Flow, Live] = {}
        self._ended: dict[Flow, None] = {}
        self._asked: dict[str, deque[int]] = {}

    def __iter__(self) -> Iterator[Live]:
        return iter(tuple(self._open.values()))

    def find(self, flow: Flow) -> Live | None:
        """The open one of that name."""
        return self._open.get(flow)

    def has_ended(self, flow: Flow) -> bool:
        """Whether it is over: what comes of it is late or a repetition."""
        return flow in self._ended

    def why_not(self, user_id: str, now_ms: int) -> str | None:
        """Why a request of this person is not answered; None where it is, and it is counted."""
        asked = self._asked.setdefault(user_id, deque())
        while asked and not 0 <= now_ms - asked[0] < PERIOD_MS:
            asked.popleft()
        if len(asked) >= MOST_REQUESTS:
            return "too many requests of this person"
        if len(self._open) >= MOST_OPEN:
            return "too many verifications are open"
        if sum(live.state.their_user == user_id for live in self) >= MOST_OF_ONE:
            return "too many verifications with this person are open"
        asked.append(now_ms)
        while len(self._asked) > MOST_PEOPLE:
            del self._asked[next(iter(self._asked))]
        return None

    async def add(self, live: Live) -> None:
        """Keeps a new one, before anything is sent for it."""
        self._open[live.state.flow] = live
        await self._save()

    async def end(self, live: Live) -> None:
        """It is over."""
        flow = live.state.flow
        self._remember(flow)
        if self._open.pop(flow, None) is not None:
            await self._save()

    async def left_over(self) -> list[Left]:
        """Those that an earlier process left open. They stay known as ended."""
        kept = await self._machine.secret(_NAME)
        found = msgspec.json.decode(kept, type=list[Left]) if kept else []
        for left in found:
            self._remember(left.flow)
        return found

    async def forget_left_over(self) -> None:
        """The others were told: only those of this process are kept."""
        await self._save()

    def _remember(self, flow: Flow) -> None:
        self._ended[flow] = None
        while len(self._ended) > MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    async def _save(self) -> None:
        kept = [
            Left(
                live.state.flow,
                live.state.their_user,
                (live.state.them.device_id,) if live.state.them else live.state.asked_devices,
            )
            for live in self
        ]
        await self._machine.keep_secret(_NAME, msgspec.json.encode(kept))
