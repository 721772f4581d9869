"""The terminal's own commands, its lines, the demo's folder and its choice of a model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from antiphon import settings
from antiphon.adapter.terminal.lines import Lines
from antiphon.clock import SystemChance
from antiphon.demo import models
from antiphon.demo.chat import Command, parse
from antiphon.demo.folder import DemoFolder, Rooms
from antiphon.errors import StateError
from antiphon.settings import AgentSettings, General, MatrixSettings, Secret, Source


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("  ", None),
        ("Hello there ", "Hello there"),
        ("!new", "!new"),
        ("/quit", Command("/quit")),
        ("/rooms", Command("/rooms")),
        ("/room", Command("/rooms")),
        ("/room 2", Command("/room", 2)),
        ("/room two", "/room two"),
        ("/etc/passwd is a file", "/etc/passwd is a file"),
        ("/quit now", "/quit now"),
    ],
)
def test_what_a_line_means(line: str, meaning: object) -> None:
    assert parse(line) == meaning


async def read_all(fd: int) -> list[str]:
    found = []
    async with Lines(fd, gather=False) as lines:
        async with asyncio.timeout(5):
            while (line := await lines.next()) is not None:
                found.append(line)
            assert await lines.next() is None
    return found


async def test_lines_of_a_pipe_come_whole_and_the_last_needs_no_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\nzw")
    os.write(writer, "ö\nthree".encode())
    os.close(writer)
    assert await read_all(reader) == ["one", "zwö", "three"]
    os.close(reader)


async def test_lines_of_a_file_and_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("one\ntwo\n")
    for path, expected in ((file, ["one", "two"]), (Path(os.devnull), [])):
        fd = os.open(path, os.O_RDONLY)
        assert await read_all(fd) == expected
        os.close(fd)


def test_the_folder_keeps_passwords_and_rooms_for_its_owner_alone(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / "demo", SystemChance())
    password = folder.password("you")
    assert folder.password("you") == password
    assert folder.password("antiphon") != password
    assert folder.rooms() == Rooms()
    assert folder.rooms().room is None
    rooms = Rooms().with_new("!a:x").with_new("!b:x")
    assert (rooms.room, rooms.at(0).room) == ("!b:x", "!a:x")
    folder.keep_rooms(rooms)
    assert folder.rooms() == rooms
    for file in folder.path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file


def test_damaged_rooms_are_a_clear_error(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path, SystemChance())
    (tmp_path / "rooms.json").write_text("{")
    with pytest.raises(StateError, match="Delete it"):
        folder.rooms()


def test_the_bots_settings_are_the_demos_own_but_for_the_model(tmp_path: Path) -> None:
    """What was configured for another bot (its token, its database) has no place in the demo."""
    folder = DemoFolder(tmp_path / "demo", SystemChance())
    configured = AgentSettings(
        model="openai:x",
        base_url="http://127.0.0.1:1/v1",
        api_key=Secret("key"),
        token=Secret("another's"),
        database="postgresql://another",
        port=1,
    )
    path = folder.write_settings(
        General(), configured, model="openai:x", homeserver="http://127.0.0.1:2", server="s.x"
    )
    assert path.stat().st_mode & 0o777 == 0o600
    source = settings.read(path, {})
    assert settings.section(source, "agent", AgentSettings) == AgentSettings(
        model="openai:x", base_url="http://127.0.0.1:1/v1", api_key=Secret("key")
    )
    matrix = settings.section(source, "matrix", MatrixSettings)
    assert (matrix.user, matrix.allow, matrix.admins) == (
        "@antiphon:s.x",
        ("@*:s.x",),
        ("@you:s.x",),
    )
    assert settings.section(source, "", General).state_path() == folder.path


def test_the_model_is_the_one_asked_for_else_configured_else_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing, agent = Source({}, None, {}), AgentSettings()
    configured = Source({"agent": {"model": "offline"}}, None, {})
    by_variable = Source({}, None, {"ANTIPHON_AGENT__MODEL": "openai:x"})
    assert models.choose("local", configured, agent) == "local"
    assert models.choose(None, by_variable, AgentSettings(model="openai:x")) == "openai:x"
    monkeypatch.setattr(models, "find_spec", lambda _: object())
    assert models.choose(None, configured, agent) == "offline"
    assert models.choose(None, nothing, agent) == "local"
    monkeypatch.setattr(models, "find_spec", lambda _: None)
    assert models.choose(None, nothing, agent) == "offline"
    assert [model.usable for model in models.models()] == [True, False, False]
