"""Ten thousand writes at once on a real file: none is lost, and reads do not wait for them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.sdk.prototype_state import LocalState

PLACE = Place("matrix", UserId("@bot:x"), RoomId("!room:x"))
WRITES, PEOPLE = 10_000, 500


@pytest.mark.timeout(600)
@pytest.mark.slow
async def test_ten_thousand_settings_at_once_lose_none(tmp_path: Path) -> None:
    """The last value of each person stands; a chat is looked up at any time meanwhile."""
    state = await LocalState.open(
        f"sqlite:///{tmp_path / 'state.db'}", clock=SystemClock(), chance=SystemChance()
    )
    await state.chat(PLACE)
    scopes = [Scope("user", "matrix", f"@user{n}:x") for n in range(PEOPLE)]
    lookups: list[float] = []

    async def look(writing: asyncio.Future[list[None]]) -> None:
        while not writing.done():
            began = time.perf_counter()
            await state.chat(PLACE)
            lookups.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)

    writing = asyncio.gather(
        *(
            state.set_setting(
                scopes[n % PEOPLE],
                "language",
                f"value {n // PEOPLE}",
                by=UserId("@anna:x"),
                request_id=f"r{n}",
            )
            for n in range(WRITES)
        )
    )
    await look(writing)
    await writing
    for scope in scopes:
        assert await state.settings(scope) == {"language": f"value {WRITES // PEOPLE - 1}"}
    found = await state.export_user(UserId("@anna:x"))
    assert len(found["audit"]) == WRITES
    await state.close()
    lookups.sort()
    assert lookups[len(lookups) // 2] < 1
