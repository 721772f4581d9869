"""`antiphon init` and `antiphon run` with a real homeserver, and services that can't start."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret

PASSWORD = "correct horse"


def environment(folder: Path, **variables: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    return {**clean, "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder), **variables}


def antiphon(
    folder: Path, *args: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "antiphon", *args],
        cwd=folder,
        env=environment(folder, **variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Running:
    """`antiphon run` in a folder with its settings file."""

    def __init__(self, folder: Path):
        self.folder = folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "antiphon", "run"],
                cwd=folder,
                env=environment(folder),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ready_line(self) -> str:
        assert self.process.stdout is not None
        return read_line(self.process.stdout, 60)

    def pids(self) -> dict[str, int]:
        """The processes that were started, by their command."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self.folder) in line:
                    found[line.split("--die-with-parent ")[-1].strip()] = int(folder.name)
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait(30)


def read_line(stream: IO[str], within_s: float) -> str:
    assert select.select([stream], [], [], within_s)[0], "no line came"
    return stream.readline()


def until(what: str, found: object, within_s: float = 30.0) -> None:
    """Waits until the callable `found` gives something true."""
    assert callable(found)
    deadline = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
async def account(synapse: Synapse) -> str:
    return await synapse.register_user(f"bot-{secrets.token_hex(4)}", Secret(PASSWORD))


@pytest.fixture
def folder(synapse: Synapse, account: str, tmp_path: Path) -> Path:
    """A folder with a settings file that `antiphon init` has written and checked."""
    result = antiphon(
        tmp_path,
        *("init", "--homeserver", synapse.url, "--user", account, "--password-stdin"),
        *("--allow", "@*:antiphon.localhost", "--yes"),
        stdin=f"{PASSWORD}\n",
    )
    assert result.returncode == 0, result.stderr
    assert account in result.stdout
    return tmp_path


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    one = Running(folder)
    yield one
    one.close()


def test_run_starts_both_and_says_so_in_one_line_and_sigterm_ends_both(
    running: Running, account: str
) -> None:
    line = running.ready_line()
    assert account in line
    assert "offline" in line
    operations = re.search(r"operations (http\S+?)\)", line)
    assert operations is not None
    with urllib.request.urlopen(f"{operations[1].rstrip('/')}/health", timeout=10) as answer:
        assert answer.status == 200
        assert json.load(answer)
    token = running.folder / "antiphon" / "agent.token"
    assert token.stat().st_mode & 0o777 == 0o600
    pids = running.pids()
    assert set(pids) == {"agent serve", "matrix run"}
    secret = token.read_text().strip()
    for pid in pids.values():
        assert secret not in Path(f"/proc/{pid}/environ").read_text()
        assert secret not in Path(f"/proc/{pid}/cmdline").read_text()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(20) == 0
    assert running.pids() == {}


def test_a_killed_part_comes_back_and_the_other_stays(running: Running) -> None:
    running.ready_line()
    before = running.pids()
    os.kill(before["agent serve"], signal.SIGKILL)
    until("the agent is started again", lambda: _is_new(running, before, "agent serve"))
    assert running.pids()["matrix run"] == before["matrix run"]
    log = (running.folder / "log").read_text()
    assert "child_died" in log


def _is_new(running: Running, before: dict[str, int], name: str) -> bool:
    return running.pids().get(name, before[name]) != before[name]


def test_kill_9_of_the_supervisor_ends_both(running: Running) -> None:
    running.ready_line()
    running.process.kill()
    until("both have ended", lambda: not running.pids())


@pytest.mark.slow
def test_a_second_one_on_the_same_state_refuses(running: Running) -> None:
    running.ready_line()
    second = antiphon(running.folder, "run")
    assert second.returncode == 2
    assert "already runs" in second.stderr.splitlines()[-1]
    assert set(running.pids()) == {"agent serve", "matrix run"}


def test_init_refuses_a_wrong_password_and_writes_nothing(
    synapse: Synapse, account: str, tmp_path: Path
) -> None:
    result = antiphon(
        tmp_path,
        *("init", "--homeserver", synapse.url, "--user", account, "--password-stdin"),
        *("--allow", "@*:antiphon.localhost"),
        stdin="wrong\n",
    )
    assert result.returncode == 2
    assert result.stderr.startswith("antiphon: ")
    assert "password" in result.stderr
    assert not (tmp_path / "antiphon.toml").exists()


@pytest.mark.slow
def test_run_with_a_wrong_password_ends_with_one_sentence(folder: Path) -> None:
    result = antiphon(folder, "run", ANTIPHON_MATRIX__PASSWORD="wrong")
    assert result.returncode == 2
    sentences = [li for li in result.stderr.splitlines() if li.startswith("antiphon: ")]
    assert len(sentences) == 1
    assert "password" in sentences[0]
    assert result.stderr.splitlines()[-1] == sentences[0]


@pytest.mark.parametrize("command", [("agent", "serve"), ("run",)])
def test_a_port_in_use_is_one_sentence_and_exit_code_2(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """The homeserver never answers, so that nothing but the port can end it."""
    with socket.socket() as taken, socket.socket() as silent:
        for listening in (taken, silent):
            listening.bind(("127.0.0.1", 0))
            listening.listen()
        port = str(taken.getsockname()[1])
        result = antiphon(
            tmp_path,
            *command,
            ANTIPHON_AGENT__PORT=port,
            ANTIPHON_AGENT__TOKEN="t" * 32,
            ANTIPHON_MATRIX__HOMESERVER=f"http://127.0.0.1:{silent.getsockname()[1]}",
            ANTIPHON_MATRIX__USER="@bot:example.org",
            ANTIPHON_MATRIX__PASSWORD="pw",
        )
    assert result.returncode == 2
    assert port in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [("matrix", "run"), ("run",)])
def test_missing_settings_are_named(command: tuple[str, ...], tmp_path: Path) -> None:
    result = antiphon(tmp_path, *command)
    assert result.returncode == 2
    assert "homeserver" in result.stderr.splitlines()[-1]


def test_a_service_announces_itself_and_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "antiphon", "agent", "serve"],
        cwd=tmp_path,
        env=environment(tmp_path, ANTIPHON_AGENT__PORT="0", ANTIPHON_AGENT__TOKEN="t" * 32),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert read_line(process.stdout, 30).startswith("ready ws://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
