"""`antiphon matrix backup` and `restore` as a person or a script types them."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from pathlib import Path

import msgspec
import pytest

from antiphon.cli import app
from antiphon.cli.agent_beside import agent_beside
from antiphon.cli.options import Options, prepare
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ThreadId
from antiphon.db import Database, StateLock
from antiphon.db.lock import holder
from antiphon.errors import SettingsError
from antiphon.run.pair import ADDRESS_FILE, TOKEN_FILE
from antiphon.sdk.memories import open_memories
from antiphon.testing.agent_service import TOKEN, running_agent
from antiphon.testing.engine import ScriptedEngine
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.keeper import COUNTING, Keeper
from antiphon.testing.processes import Process


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("ANTIPHON_STATE_DIR", str(folder))
    monkeypatch.setenv("ANTIPHON_MATRIX__HOMESERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("ANTIPHON_MATRIX__USER", "@bot:example.org")
    monkeypatch.setenv("ANTIPHON_AGENT__TOKEN", "a-token-of-the-tests")
    monkeypatch.chdir(tmp_path)
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_without_a_state_there_is_nothing_to_back_up(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.invoke(["matrix", "backup"]) == 2
    assert "nothing to back up" in said(capsys)
    assert not state.exists()


def test_a_restore_without_a_terminal_wants_a_yes(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the file is even looked at."""
    assert app.invoke(["matrix", "restore", "some.backup"]) == 2
    assert "--yes" in said(capsys)


@pytest.mark.parametrize("flag", ["--yes", "--dry-run"])
def test_a_file_that_is_none_is_named(
    state: Path, tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.invoke(["matrix", "restore", "none.backup", flag]) == 2
    assert "Can't read the backup none.backup" in said(capsys)
    (tmp_path / "none.backup").write_bytes(b"PK something")
    assert app.invoke(["matrix", "restore", "none.backup", flag]) == 2
    assert "no whole backup" in said(capsys)


async def test_the_agent_of_antiphon_run_is_found(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings name none and one runs here, what `antiphon run` has arranged counts; one
    that was started otherwise must be named."""
    state.mkdir()
    source, general = prepare(Options(None), "test")
    with StateLock.acquire(state, "agent", what="An agent"):
        with pytest.raises(SettingsError, match=r"\[agent\] url"):
            async with agent_beside(source, general):
                pass
        (state / ADDRESS_FILE).write_text("ws://127.0.0.1:1234/agent_ws/\n")
        (state / TOKEN_FILE).write_text("secret-of-the-pair\n")
        async with agent_beside(source, general) as agent:
            assert agent.url == "ws://127.0.0.1:1234/agent_ws/"
            assert agent.token.reveal() == "secret-of-the-pair"
    monkeypatch.setenv("ANTIPHON_AGENT__URL", "ws://127.0.0.1:99/agent_ws/")
    source, general = prepare(Options(None), "test")
    async with agent_beside(source, general) as agent:
        assert agent.token.reveal() == "a-token-of-the-tests"


async def test_an_agent_that_does_not_run_is_started_for_the_command(state: Path) -> None:
    """As `antiphon run` would start it; it is gone when the command ends."""
    source, general = prepare(Options(None), "test")
    async with (
        agent_beside(source, general) as agent,
        open_memories(agent, clock=SystemClock(), chance=SystemChance()) as there,
    ):
        assert await there.export_thread(ThreadId("never-heard-of-it")) is None
        assert holder(state, "agent")
    assert holder(state, "agent") is None


async def test_an_agent_that_cannot_start_says_why(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_AGENT__MODEL", "no-such-model")
    source, general = prepare(Options(None), "test")
    with pytest.raises(ExceptionGroup) as caught:
        async with agent_beside(source, general):
            raise AssertionError("not ready")
    assert "no-such-model" in (known := app.first_known(caught.value)).message  # type: ignore[union-attr]
    assert known is not None
    assert known.exit_code == 2


def test_a_database_that_is_another_programs_is_left_alone(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    notes = Path(__file__).parents[1] / "db" / "notes" / "migrations"

    async def make() -> None:
        state.mkdir()
        await (await Database.open(f"sqlite:///{state / 'matrix.db'}", notes)).close()

    asyncio.run(make())
    assert app.invoke(["matrix", "backup"]) == 2
    assert "database of something else" in said(capsys)


async def test_without_the_agent_the_sentence_says_what_can_be_done(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    """Exit code 1, and with the flag that it names it works."""
    async with running_agent(tmp_path / "agent", ScriptedEngine(COUNTING)) as agent:
        keeper = Keeper(homeserver, tmp_path, agent.url)
        await keeper.talk("one")
    env = {
        "ANTIPHON_STATE_DIR": str(keeper.state),
        "ANTIPHON_MATRIX__USER": keeper.bot,
        "ANTIPHON_AGENT__URL": agent.url,
        "ANTIPHON_AGENT__TOKEN": TOKEN,
    }
    process = Process("backup", (), env, tmp_path)
    refused = await process.once("matrix", "backup")
    assert (refused.code, "--without-memory" in refused.said) == (1, True)
    written = await process.once("matrix", "backup", "--without-memory", "--json")
    assert msgspec.json.decode(written.out)["memory"] is False


async def test_on_a_terminal_it_shows_what_it_does_and_asks(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    """No is no: exit code 1, and nothing was changed. Yes restores and says how to undo."""
    async with running_agent(tmp_path / "agent", ScriptedEngine(COUNTING)) as agent:
        keeper = Keeper(homeserver, tmp_path, agent.url)
        await keeper.talk("one")
        path = (await keeper.backup()).path
        before = keeper.rows("matrix", "SELECT epoch FROM account")
        code, shown = await on_a_terminal(keeper, path, "n\n")
        assert (code, "Nothing was changed." in shown) == (1, True)
        assert "which stays as it is now: 1 session\n" in shown
        assert "Restore it?" in shown
        assert keeper.rows("matrix", "SELECT epoch FROM account") == before
        code, shown = await on_a_terminal(keeper, path, "y\n")
        assert (code, "To undo it: antiphon matrix restore" in shown) == (0, True)
        assert keeper.rows("matrix", "SELECT epoch FROM account") != before


async def on_a_terminal(keeper: Keeper, path: str, answer: str) -> tuple[int, str]:
    """The command on a terminal of its own, where somebody answers; its exit code and output."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "antiphon", "matrix", "restore", path),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")},
            "ANTIPHON_STATE_DIR": str(keeper.state),
            "ANTIPHON_MATRIX__USER": keeper.bot,
            "ANTIPHON_AGENT__URL": keeper.agent.url,
            "ANTIPHON_AGENT__TOKEN": TOKEN,
        },
    )
    try:
        out, _ = await child.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    return child.returncode or 0, out.decode()
