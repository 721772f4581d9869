"""Erasing a person: gone here in one transaction, and at the agent as soon as it can be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import AgentProtocolError, AgentUnreachableError
from antiphon.master.upkeep import horizon
from antiphon.records.values import Debt
from antiphon.settings import MasterSettings
from antiphon.testing.master import Client, running_master

ADA = "/users/@ada:x"
SECRET = "Ada-Lovelace-of-the-test"


class FakeAgent:
    """Erases what it is asked to, unless it is away, or does not want to for one thread."""

    def __init__(self) -> None:
        self.away = asyncio.Event()
        self.refuses: set[str] = set()
        self.erased: set[tuple[str, str, str | None]] = set()

    async def erase(self, debt: Debt) -> None:
        if self.away.is_set():
            raise AgentUnreachableError("It does not answer.")
        if debt.thread_id in self.refuses:
            raise AgentProtocolError("No.", code="internal")
        self.erased.add((debt.surface, debt.thread_id, debt.author))


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
async def client(tmp_path: Path, store_url: str, agent: FakeAgent) -> AsyncIterator[Client]:
    async with running_master(tmp_path, database=store_url, agent=agent) as master:
        yield await master.client()


async def life_of_ada(client: Client) -> tuple[str, str]:
    """The thread that is hers alone, and the one that she shares."""
    place = {"account": "@bot:x", "room": "!r:x"}
    own = await client("POST", "/chats", {"place": {**place, "user": "@ada:x"}}, key="own")
    shared = await client("POST", "/chats", {"place": place})
    await client("PUT", ADA, {"name": SECRET, "role": "admin"}, key="put")
    chat = own.json["chat_id"]
    await client("PATCH", f"/chats/{chat}", {"title": SECRET}, match="*", key="title")
    by = {"value": "Latin", "by": "@ada:x"}
    await client("PUT", "/settings/user/language?subject=@ada:x", by, key="set")
    prompt = {"value": f"I am {SECRET}.", "by": "@ada:x"}
    await client("PUT", "/settings/user/system_prompt?subject=@ada:x", prompt, key="prompt")
    await client(
        "POST",
        "/usage",
        {"entries": [{"run_id": "r1", "user_id": "@ada:x", "room": "!r:x", "at_ms": 1}]},
    )
    return own.json["session"]["thread_id"], shared.json["session"]["thread_id"]


def held(folder: Path) -> bytes:
    """All that lies in the files of the database."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.db*")))


async def test_everything_of_a_person_goes_and_the_agent_confirms(
    client: Client, agent: FakeAgent, tmp_path: Path
) -> None:
    """Not even kept answers, the log or the files on the disk name them any more."""
    own, shared = await life_of_ada(client)
    got = (await client("DELETE", ADA, key="erase")).json
    assert (got["chats"], got["settings"], got["usage"]) == (1, 2, 1)
    assert (got["threads"], got["shared"], got["owed"]) == ([own], [shared], [])
    assert got["confirmed"] == [
        {"thread_id": own, "author": False},
        {"thread_id": shared, "author": True},
    ]
    assert agent.erased == {("matrix", own, None), ("matrix", shared, "@ada:x")}
    assert (await client("GET", ADA)).code == "unknown_user"
    export = (await client("GET", ADA + "/export")).json
    assert export["erased_ms"] is not None
    assert not any(export[what] for what in ("settings", "chats", "usage", "role", "name"))
    assert (await client("DELETE", ADA, key="erase")).json == got
    rules = (await client("GET", "/rules")).json
    assert [one[0] for one in rules["erased"]] == ["@ada:x"]
    assert SECRET.encode() not in held(tmp_path)  # on PostgreSQL: nothing lies here


async def test_a_late_repeat_of_what_made_them_does_not_bring_them_back(client: Client) -> None:
    await life_of_ada(client)
    await client("DELETE", ADA)
    late = await client("PUT", ADA, {"name": SECRET, "role": "admin"}, key="put")
    assert (late.status, late.code) == (409, "conflict")
    assert (await client("GET", ADA)).status == 404


async def test_what_the_agent_owes_is_told_and_tried_until_it_is_done(
    client: Client, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread that it refuses keeps it from no other."""
    monkeypatch.setattr("antiphon.master.eraser.LAST_RETRY_S", 0.2)
    monkeypatch.setattr("antiphon.master.routes.erasing.WAIT_S", 0.3)
    own, shared = await life_of_ada(client)
    agent.away.set()
    got = (await client("DELETE", ADA, key="erase")).json
    assert (got["confirmed"], len(got["owed"])) == ([], 2)
    agent.refuses.add(own)
    agent.away.clear()
    async with asyncio.timeout(20):
        while not agent.erased:
            await asyncio.sleep(0.05)
    assert agent.erased == {("matrix", shared, "@ada:x")}
    agent.refuses.clear()
    async with asyncio.timeout(20):
        while (await client("DELETE", ADA, key="erase")).json["owed"]:
            await asyncio.sleep(0.05)
    assert agent.erased == {("matrix", own, None), ("matrix", shared, "@ada:x")}


async def test_debts_outlive_the_process(tmp_path: Path) -> None:
    """A control plane without an agent keeps them; the next one with an agent pays."""
    async with running_master(tmp_path) as master:
        client = await master.client()
        own, shared = await life_of_ada(client)
        assert len((await client("DELETE", ADA)).json["owed"]) == 2
    agent = FakeAgent()
    async with running_master(tmp_path, agent=agent):
        async with asyncio.timeout(10):
            while len(agent.erased) < 2:
                await asyncio.sleep(0.02)
    assert agent.erased == {("matrix", own, None), ("matrix", shared, "@ada:x")}


async def test_a_deleted_chat_is_erased_at_the_agent(client: Client, agent: FakeAgent) -> None:
    made = (await client("POST", "/chats", {"place": {"account": "@b:x", "room": "!r:x"}})).json
    await client("DELETE", f"/chats/{made['chat_id']}")
    async with asyncio.timeout(10):
        while not agent.erased:
            await asyncio.sleep(0.02)
    assert agent.erased == {("matrix", made["session"]["thread_id"], None)}


async def test_nobody_is_erased_on_another_surface(client: Client, tmp_path: Path) -> None:
    got = (await client("DELETE", "/users/@nobody:x")).json
    assert not any(got.values())


def test_retention_counts_days_and_none_is_for_ever() -> None:
    day = 86_400_000
    found = horizon(
        MasterSettings(keep_usage_days=0, keep_audit_days=2, keep_requests_days=1), 10 * day
    )
    assert (found.usage_ms, found.audit_ms, found.requests_ms) == (None, 8 * day, 9 * day)


async def test_old_rows_go_when_the_service_starts(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"user_id": "@ada:x", "room": "!r:x", "at_ms": 1}
    async with running_master(tmp_path) as master:
        client = await master.client()
        await client("POST", "/usage", {"entries": [{**entry, "run_id": "old"}]})
        now = (await client("GET", "/usage")).json
        assert now["turns"] == 1
    async with running_master(tmp_path, keep_usage_days=30) as master:
        client = await master.client()
        async with asyncio.timeout(5):
            while (await client("GET", "/usage")).json["turns"]:
                await asyncio.sleep(0.02)
