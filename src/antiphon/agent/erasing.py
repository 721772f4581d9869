"""Erasing by author: what `author.erase` does, on the service's own parts."""

from __future__ import annotations

from contextlib import AsyncExitStack

from antiphon.agent.hub import ThreadState
from antiphon.agent.live import Reason
from antiphon.agent.service import Service
from antiphon.agent.store import erasure
from antiphon.crash import crash_point


async def erase_author(service: Service, state: ThreadState, author: str) -> int:
    """Ends and erases every run of the thread whose question has a message by `author`; returns
    how many, when that is durable and no copy is left in the database's files. The caller holds
    the thread's lock. Raises AgentProtocolError `thread_gone`, and DatabaseError."""
    thread, now = state.thread, service.now_ms()
    async with AsyncExitStack() as stack:
        live = state.run
        if live is not None:
            named = await service.database.read(lambda c: erasure.runs_by(c, thread, author))
            if live.run_id in named:
                await stack.enter_async_context(service.stopped(state, live.run_id, Reason.ERASE))
        crash_point("erase.before_commit")
        erased = await service.database.write(
            lambda connection: erasure.erase_author(connection, thread, author, now)
        )
    crash_point("erase.committed")
    await service.forget(state, erased.frames)
    return len(erased.runs)
