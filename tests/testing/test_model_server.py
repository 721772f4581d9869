"""The model server answers as the measurements' own does, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from antiphon.testing.model_script import script, words_for
from antiphon.testing.model_server import ModelServer


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer(words=8) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


def body(*users: str, stream: bool = True) -> dict[str, Any]:
    messages = [{"role": "user", "content": user} for user in users]
    return {"model": "fake", "stream": stream, "messages": messages}


async def stream(client: aiohttp.ClientSession, url: str, *users: str) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = []
    async with client.post(f"{url}/chat/completions", json=body(*users)) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"data: {"):
                chunks.append(json.loads(line[6:]))
    return chunks


def text(chunks: list[dict[str, Any]]) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_the_answer_names_its_question_and_what_it_saw(
    server: ModelServer, client: aiohttp.ClientSession
) -> None:
    """So that an answer of another room, or a lost turn, shows."""
    chunks = await stream(client, server.url, "first Q-a1", "second Q-b2")
    assert text(chunks) == "A:Q-b2 seen=2 tags=Q-a1,Q-b2 w0 w1 w2 w3 END:Q-b2 "
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 8
    assert server.requests[0].words_sent == 8
    assert not server.requests[0].disconnected


async def test_it_answers_whole_too(server: ModelServer, client: aiohttp.ClientSession) -> None:
    async with client.post(
        f"{server.url}/chat/completions", json=body("Q-1", stream=False)
    ) as answer:
        whole = await answer.json()
    assert whole["choices"][0]["message"]["content"].endswith("END:Q-1")


async def test_a_client_that_leaves_is_noticed(
    server: ModelServer, client: aiohttp.ClientSession
) -> None:
    answer = await client.post(f"{server.url}/chat/completions", json=body("gap:0.01 words:900"))
    await server.requests[0].started.wait()
    answer.close()
    async with asyncio.timeout(5):
        await server.requests[0].ended.wait()
    assert server.requests[0].disconnected
    assert server.requests[0].words_sent < 900


async def test_a_hang_goes_on_when_it_is_let(
    server: ModelServer, client: aiohttp.ClientSession
) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stream(client, server.url, "fault:hang@2 Q-1"))
        while not server.requests:
            await asyncio.sleep(0.01)
        await server.requests[0].started.wait()
        assert not task.done()
        server.resume.set()
    assert text(task.result()).endswith("END:Q-1 ")


async def test_queued_faults_hit_the_next_requests(
    server: ModelServer, client: aiohttp.ClientSession
) -> None:
    server.fail("500", "429")
    statuses = []
    for _ in range(3):
        async with client.post(f"{server.url}/chat/completions", json=body("hello")) as answer:
            statuses.append(answer.status)
    assert statuses == [500, 429, 200]


async def test_a_disconnect_in_the_middle_breaks_the_body(
    server: ModelServer, client: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.ClientError):
        await stream(client, server.url, "fault:disconnect@3")


def test_names_are_remembered_from_the_messages_alone() -> None:
    told = body("my name is Ada", "what is my name?")
    assert script(told, 5).words == ("Your", "name", "is", "Ada.")
    assert "not" in script(body("what is my name?"), 5).words


def test_a_tool_is_asked_for_once() -> None:
    asked = body('tool:clock:{"zone": "UTC"}')
    assert [(call.name, call.args) for call in script(asked, 5).calls] == [
        ("clock", '{"zone": "UTC"}')
    ]
    asked["messages"].append({"role": "tool", "content": "noon"})
    assert script(asked, 5).calls == ()
    assert 'returned="noon"' in script(asked, 5).words


def test_words_are_those_of_the_measurements() -> None:
    assert words_for(["x Q-1"], 6, []) == ["A:Q-1", "seen=1", "tags=Q-1", "w0", "w1", "END:Q-1"]


async def test_it_runs_as_a_process_with_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "antiphon.testing.model_server", "--words", "5", "--gap", "0"]
    process = subprocess.Popen([*command, "--log", str(log)], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            url = (await asyncio.to_thread(process.stdout.readline)).strip()
            async with aiohttp.ClientSession() as client:
                assert "END:Q-9" in text(await stream(client, url, "Q-9"))
        finally:
            process.terminate()
    assert json.loads(log.read_text())["head"] == ["A:Q-9", "seen=1", "tags=Q-9"]
