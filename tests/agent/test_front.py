"""The port: tokens and what they see, health, other paths, and frames that are none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from antiphon.agent import front
from antiphon.agent.app import serve
from antiphon.agent_api.messages import MAX_FRAME_BYTES
from antiphon.errors import SettingsError, StateInUseError
from antiphon.settings import AgentSettings, General, Secret
from antiphon.testing.agent_service import THREAD, TOKEN, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine

ATTACH = {"type": "attach", "id": "v1", "thread_id": THREAD}
START = {"type": "run.start", "id": "v1", "thread_id": THREAD, "run_id": "r", "input": []}


async def http(url: str, path: str, token: str = "") -> tuple[int, dict[str, object]]:
    """A plain GET."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    header = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
    raw = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), msgspec.json.decode(body)


@pytest.mark.parametrize("token", ["", "wrong", f"{TOKEN}x", TOKEN[:-1], "ünïcödé"])
async def test_a_missing_or_wrong_token_is_401(tmp_path: Path, token: str) -> None:
    """With a JSON error that says what to send."""
    async with running_agent(tmp_path, ScriptedEngine(Script())) as agent:
        header = {"Authorization": f"Bearer {token}".strip()} if token.isascii() else {}
        with pytest.raises(InvalidStatus) as caught:
            async with connect(agent.url, additional_headers=header):
                pass
    assert caught.value.response.status_code == 401
    error = msgspec.json.decode(caught.value.response.body or b"")["error"]
    assert error["code"] == "unauthorized"
    assert "ANTIPHON_AGENT__TOKEN" in error["message"]


async def test_the_path_works_without_its_last_slash(tmp_path: Path) -> None:
    """`/agent_ws` is what people type."""
    async with (
        running_agent(tmp_path, ScriptedEngine(Script())) as agent,
        raw_client(agent.url.rstrip("/")) as client,
    ):
        assert (await client.run())[-1]["text"] == "You said: hi"


async def test_health_says_what_runs_and_no_secret(tmp_path: Path) -> None:
    """Status, version, default model and running runs; without a token."""
    engine = ScriptedEngine(Script((Rule(((Act(gate="g"), Act(text="x")),)),)))
    async with running_agent(tmp_path, engine) as agent, raw_client(agent.url) as client:
        status, body = await http(agent.url, "/health")
        assert status == 200
        assert body == {
            "status": "ok",
            "version": body["version"],
            "model": "scripted",
            "running_runs": 0,
        }
        await client.start()
        await engine.reached("g")
        assert (await http(agent.url, "/health?x=1"))[1]["running_runs"] == 1
        engine.open("g")


@pytest.mark.parametrize("path", ["/", "/agent", "/agent_ws/x", "/healthz", "/users/x"])
async def test_other_paths_are_404_with_a_sentence(tmp_path: Path, path: str) -> None:
    """Also with a token."""
    async with running_agent(tmp_path, ScriptedEngine(Script())) as agent:
        status, body = await http(agent.url, path, TOKEN)
    assert status == 404
    assert "/agent_ws/" in str(body)


async def test_a_token_sees_only_its_surfaces_threads(tmp_path: Path) -> None:
    """A foreign thread is as one that is not there; the same ids are other threads; deleting
    one's own leaves the other's."""
    engine = ScriptedEngine(Script())
    tokens = {"matrix": Secret("one"), "terminal": Secret("two")}
    async with (
        running_agent(tmp_path, engine, token=Secret(""), tokens=tokens) as agent,
        raw_client(agent.url, "one") as mine,
        raw_client(agent.url, "two") as other,
    ):
        await mine.run("r1", "mine")
        foreign = await other.ask("attach", run_id="r1")
        missing = await other.ask("attach", "thread-that-never-was-here", run_id="r1")
        assert foreign | {"id": ""} == missing | {"id": ""}
        assert foreign["code"] == "not_found"
        assert (await other.ask("run.withdraw", run_id="r1"))["type"] == "ok"
        assert (await other.run("r2", "other"))[-1]["text"] == "You said: other"
        assert (await other.ask("thread.delete"))["type"] == "ok"
        await mine.run("r3", "more")
    assert [item.text for item in engine.requests[-1].history if hasattr(item, "text")] == [
        "mine",
        "You said: mine",
        "more",
    ]


FRAMES: list[tuple[object, str, str | None]] = [
    (b"", "bad_frame", None),
    (b"not json", "bad_frame", None),
    (b"[]", "bad_frame", None),
    (b"null", "bad_frame", None),
    (b'"attach"', "bad_frame", None),
    (b"{", "bad_frame", None),
    (b'{"a":' * 2_000, "bad_frame", None),
    ({}, "bad_frame", None),
    ({"type": "attach"}, "bad_frame", None),
    ({"type": "nothing", "id": "v1"}, "unknown_type", "v1"),
    ({"type": 7, "id": "v1"}, "bad_frame", "v1"),
    ({"type": "ok", "id": "v1"}, "unknown_type", "v1"),
    (ATTACH | {"thread_id": "short"}, "bad_frame", "v1"),
    (ATTACH | {"thread_id": "../../../../etc/passwd"}, "bad_frame", "v1"),
    (ATTACH | {"thread_id": 7}, "bad_frame", "v1"),
    (ATTACH | {"id": ""}, "bad_frame", None),
    (ATTACH | {"more": 1}, "bad_frame", "v1"),
    (ATTACH | {"cursor": {"run_id": "r", "attempt": 0, "seq": 1}}, "bad_frame", "v1"),
    (ATTACH | {"cursor": {"run_id": "r", "attempt": 1, "seq": -1}}, "bad_frame", "v1"),
    (START, "bad_frame", "v1"),
    (START | {"input": "hi"}, "bad_frame", "v1"),
    (START | {"input": [{"text": 1}]}, "bad_frame", "v1"),
    (START | {"input": [{"text": "x"}], "settings": {"deadline_s": 0}}, "bad_frame", "v1"),
    (START | {"input": [{"text": "x"}] * 257}, "bad_frame", "v1"),
    (START | {"input": [{"text": "x" * MAX_FRAME_BYTES}]}, "frame_too_large", None),
]


async def test_frames_that_are_no_verbs_are_answered_and_the_connection_lives(
    tmp_path: Path,
) -> None:
    """Each gets an error with a sentence, under its id where that can be read."""
    async with (
        running_agent(tmp_path, ScriptedEngine(Script())) as agent,
        raw_client(agent.url) as client,
    ):
        for content, code, verb_id in FRAMES:
            data = content if isinstance(content, bytes) else msgspec.json.encode(content)
            await client.socket.send(data, text=True)
            answer = await client.recv()
            assert (answer["type"], answer["code"]) == ("error", code), content
            assert answer.get("id") == verb_id, content
            assert answer["message"].endswith("."), answer
        await client.socket.send(b"\x00\x01", text=False)
        assert "text frames" in (await client.recv())["message"]
        assert (await client.run())[-1]["text"] == "You said: hi"


@pytest.mark.parametrize(("attempt", "seq"), [(1, 2**62), (1, 2**70), (2**70, 0), (2**70, 3)])
async def test_a_cursor_beyond_what_a_database_can_hold_is_no_crash(
    tmp_path: Path, attempt: int, seq: int
) -> None:
    """The frame allows such numbers: the answer is a snapshot."""
    async with (
        running_agent(tmp_path, ScriptedEngine(Script())) as agent,
        raw_client(agent.url) as client,
    ):
        await client.run()
        cursor = {"run_id": "r1", "attempt": attempt, "seq": seq}
        assert (await client.ask("attach", cursor=cursor))["type"] == "ok"
        assert (await client.recv())["type"] == "snapshot"


async def test_text_with_odd_characters_comes_back_as_it_was(tmp_path: Path) -> None:
    """NUL, which a database can't hold in text, is replaced; the rest is kept."""
    async with (
        running_agent(tmp_path, ScriptedEngine(Script())) as agent,
        raw_client(agent.url) as client,
    ):
        events = await client.run("r1", "a\x00b \u2028 😀 \u202e end")
    assert events[-1]["text"] == "You said: a\ufffdb \u2028 😀 \u202e end"


async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many gets 503; when one leaves there is room again."""
    monkeypatch.setattr(front, "MAX_CONNECTIONS", 1)
    async with (
        running_agent(tmp_path, ScriptedEngine(Script())) as agent,
        raw_client(agent.url) as client,
    ):
        await client.ask("detach")
        with pytest.raises(InvalidStatus) as caught:
            async with raw_client(agent.url):
                pass
        assert caught.value.response.status_code == 503
        await client.run()


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The error names the port and the setting."""
    async with running_agent(tmp_path / "a", ScriptedEngine(Script())) as agent:
        port = urlsplit(agent.url).port or 0
        with pytest.raises(SettingsError, match=f"Port {port} .*ANTIPHON_AGENT__PORT"):
            await serve(
                General(state_dir=str(tmp_path / "b")),
                AgentSettings(port=port, token=Secret("x")),
            )


async def test_without_a_token_it_does_not_start(tmp_path: Path) -> None:
    """The error says what to set."""
    with pytest.raises(SettingsError, match="ANTIPHON_AGENT__TOKEN"):
        await serve(General(state_dir=str(tmp_path)), AgentSettings(port=0))


async def test_a_second_agent_on_one_state_is_refused(tmp_path: Path) -> None:
    """Two of them would write into one thread."""
    async with running_agent(tmp_path, ScriptedEngine(Script())):
        with pytest.raises(StateInUseError, match="already runs"):
            await serve(General(state_dir=str(tmp_path)), AgentSettings(port=0, token=Secret("x")))
