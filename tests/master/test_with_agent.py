"""The control plane beside a real agent: what an erased person said is gone from its memory, and
what others said is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent.app import serve
from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import InputPart
from antiphon.clock import SystemChance, SystemClock
from antiphon.errors import AgentProtocolError
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.master import Client, running_master

ERASE, SURFACE = "erase-token-of-the-tests", "surface-token-of-the-tests"


@asynccontextmanager
async def running_agent(folder: Path, **tokens: Any) -> AsyncIterator[str]:
    """A real agent with the offline model; its address."""
    settings = AgentSettings(port=0, erase_token=Secret(ERASE), **tokens)
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    general = General(state_dir=str(folder / "agent"))
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(general, settings, ready=ready.set_result, stop=stop))
        try:
            yield await ready
        finally:
            stop.set()


async def say(agent: AgentClient, thread: str, run: str, author: str, text: str) -> None:
    """One whole run."""
    with agent.start(thread, run, [InputPart(text, author)]) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize(
    "tokens",
    [{"tokens": {"matrix": Secret(SURFACE)}}, {"token": Secret(SURFACE)}],
    ids=["named", "single"],
)
async def test_what_an_erased_person_said_is_gone_from_the_agent(
    tmp_path: Path, tokens: dict[str, Any]
) -> None:
    """Also at an agent that was given one token, and so calls its surface otherwise."""
    clock, chance = SystemClock(), SystemChance()
    async with (
        running_agent(tmp_path, **tokens) as url,
        running_master(
            tmp_path / "master", agent_url=url, agent_erase_token=Secret(ERASE)
        ) as master,
        AgentClient(url, SURFACE, clock=clock, chance=chance) as agent,
    ):
        client = await master.client()
        own, shared = await threads(client)
        await say(agent, own, "r1", "@ada:x", "Remember: plover-one.")
        await say(agent, shared, "r2", "@ada:x", "Remember: plover-two.")
        await say(agent, shared, "r3", "@bob:x", "Remember: plover-three.")
        assert b"plover-two" in await everything(agent, shared)
        got = (await client("DELETE", "/users/@ada:x")).json
        assert got["owed"] == []
        left = await everything(agent, shared)
        assert b"plover-two" not in left
        assert b"plover-three" in left
        assert await everything(agent, own) == b""


async def threads(client: Client) -> tuple[str, str]:
    place = {"account": "@bot:x", "room": "!r:x"}
    own = await client("POST", "/chats", {"place": {**place, "user": "@ada:x"}})
    shared = await client("POST", "/chats", {"place": place})
    return own.json["session"]["thread_id"], shared.json["session"]["thread_id"]


async def everything(agent: AgentClient, thread: str) -> bytes:
    """What the thread remembers."""
    try:
        return await agent.export(thread)
    except AgentProtocolError as error:
        if error.code not in ("thread_gone", "not_found"):
            raise
        return b""
