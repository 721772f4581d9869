"""A surface process that does one thing after the other over a control plane, to be killed at named
points: `python -m antiphon.testing.remote_process URL FOLDER STEPS`, the token in the variable
TOKEN. Whatever it did in an earlier life it asks for again under the same names."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place
from antiphon.core.people import UsageEntry
from antiphon.core.scopes import Scope
from antiphon.testing.remote_worlds import remote_state, settled

PLACE = Place("matrix", UserId("@bot:x"), RoomId("!room:x"))
ANNA = UserId("@anna:x")


async def main(url: str, folder: Path, steps: int, *, wait: bool) -> None:
    """Each step begins a session, sets a setting and counts a run."""
    async with remote_state(folder, url, os.environ["TOKEN"]) as state:
        chat = await state.chat(PLACE)
        for step in range(1, steps + 1):
            made = await state.new_session(chat.chat_id, f"new-{step}")
            scope = Scope("room", "matrix", PLACE.room)
            await state.set_setting(scope, "queued_turns", step, by=ANNA, request_id=f"set-{step}")
            entry = UsageEntry(RunId(f"t{step}.0"), ANNA, PLACE.room, 1_000, 10, 5, 1.0)
            await state.record_usage((entry,))
            print("thread", made.thread_id, flush=True)  # noqa: T201 - to the test
        if wait:
            await settled(state, 30)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), wait="--wait" in sys.argv))
