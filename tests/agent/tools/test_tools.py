"""Every tool declares a schema, checks its arguments, stays in its thread and bounds its result."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.agent.tools.notes import LISTED_CHARS
from antiphon.agent.tools.port import PastMessage, ToolContext, ToolRefusedError
from antiphon.agent.tools.registry import default_tools
from antiphon.agent.tools.search import EXCERPT_CHARS
from antiphon.testing.conversation import NOW_MS, MemoryThread


@pytest.fixture
def thread() -> MemoryThread:
    return MemoryThread()


async def run(name: str, thread: MemoryThread, call_id: str = "c1", **arguments: Any) -> str:
    tool = next(tool for tool in default_tools() if tool.spec.name == name)
    return await tool.run(arguments, ToolContext(call_id, thread))


def test_names_and_schemas_fit_every_provider() -> None:
    """Names are plain identifiers; parameters are flat object schemas that allow nothing more."""
    tools = default_tools()
    assert len({tool.spec.name for tool in tools}) == len(tools)
    for tool in tools:
        assert tool.spec.name.isidentifier()
        assert tool.spec.parameters["type"] == "object"
        assert tool.spec.parameters["additionalProperties"] is False
        assert "$ref" not in str(tool.spec.parameters)


@pytest.mark.parametrize("name", [tool.spec.name for tool in default_tools()])
async def test_unknown_arguments_are_refused(name: str, thread: MemoryThread) -> None:
    """The refusal names what is allowed, so that a model can call again."""
    with pytest.raises(ToolRefusedError, match="Known arguments"):
        await run(name, thread, nonsense=1)


async def test_wrong_types_are_refused(thread: MemoryThread) -> None:
    with pytest.raises(ToolRefusedError, match="words"):
        await run("search", thread, words=5)
    with pytest.raises(ToolRefusedError, match="expression"):
        await run("calculator", thread)
    with pytest.raises(ToolRefusedError, match="limit"):
        await run("search", thread, words="x", limit=1000)


async def test_clock_tells_utc_by_default(thread: MemoryThread) -> None:
    assert await run("clock", thread) == (
        "Sunday, 22 November 2026, 10:41:22 UTC (2026-11-22T10:41:22+00:00)"
    )


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "tokyo", "asia/tokyo"])
async def test_clock_knows_zones_and_cities(zone: str, thread: MemoryThread) -> None:
    assert "19:41:22 JST" in await run("clock", thread, zone=zone)


@pytest.mark.parametrize("zone", ["Atlantis", "../../etc/passwd", "", "/etc/localtime"])
async def test_clock_refuses_other_places(zone: str, thread: MemoryThread) -> None:
    with pytest.raises(ToolRefusedError, match="no time zone"):
        await run("clock", thread, zone=zone)


async def test_calculator_says_what_it_can_not_compute(thread: MemoryThread) -> None:
    assert await run("calculator", thread, expression="12*7") == "84"
    with pytest.raises(ToolRefusedError, match="divides by zero"):
        await run("calculator", thread, expression="1/0")


async def test_a_note_is_kept_once_per_call(thread: MemoryThread) -> None:
    """A repeated call (after a crash) keeps no second note."""
    for _ in range(2):
        assert await run("notes_add", thread, text="buy milk") == "Kept as note 1: buy milk"
    await run("notes_add", thread, "c2", text="feed the cat")
    assert await run("notes_list", thread) == "1. buy milk\n2. feed the cat"


async def test_no_notes_and_empty_notes(thread: MemoryThread) -> None:
    assert "no notes" in await run("notes_list", thread)
    with pytest.raises(ToolRefusedError, match="empty"):
        await run("notes_add", thread, text="  ")


async def test_many_long_notes_are_bounded(thread: MemoryThread) -> None:
    """The newest are shown, and how many are not."""
    for number in range(100):
        await run("notes_add", thread, f"c{number}", text=f"{number} " + "x" * 1_000)
    listed = await run("notes_list", thread)
    assert len(listed) < LISTED_CHARS + 100
    assert "100. 99 xxx" in listed
    assert "older ones left out" in listed


async def test_search_shows_where_and_when(thread: MemoryThread) -> None:
    thread.past = [PastMessage("user", "the key\nis under the mat", NOW_MS)]
    found = await run("search", thread, words="key")
    assert found == "[2026-11-22 10:41 UTC] user: the key is under the mat"
    assert "No earlier message" in await run("search", thread, words="dragon")


async def test_search_shows_the_place_in_a_long_message(thread: MemoryThread) -> None:
    thread.past = [PastMessage("user", "a " * 5_000 + "needle " + "b " * 5_000, NOW_MS)] * 30
    found = await run("search", thread, words="needle", limit=20)
    assert found.count("needle") == 20
    assert len(found) < 20 * (EXCERPT_CHARS + 60)
