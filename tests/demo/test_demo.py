"""The demo from end to end: a real Synapse, a real agent and adapter, real processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

START_S = 90.0
ON_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'antiphon', *sys.argv[1:]])"
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def environment(state: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    # A private place for settings: the demo must not find those of whoever runs the tests.
    return {**clean, "XDG_CONFIG_HOME": str(state), "ANTIPHON_STATE_DIR": str(state)}


def demo(state: Path, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "antiphon", "demo", "--model", "offline", *args],
        cwd=state,
        env=environment(state),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def processes(state: Path) -> list[str]:
    """Command lines of living processes that name this state folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(state) in line:
                found.append(line)
    return found


def assert_no_process(state: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while processes(state):
        assert time.monotonic() < deadline, processes(state)
        time.sleep(0.05)


class Terminal:
    """The demo on a terminal of its own, as a person has it before them."""

    def __init__(self, state: Path):
        self.master, slave = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, "demo", "--model", "offline"],
            cwd=state,
            env=environment(state),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: str, within_s: float = START_S) -> str:
        """Reads until `text` appears after what was waited for before; returns all up to it."""
        deadline = time.monotonic() + within_s
        while text not in self.seen:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left))
            assert ready, f"{text!r} did not appear in: {self.seen[-2000:]}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        before, _, self.seen = self.seen.partition(text)
        return before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(state: Path) -> Iterator[Terminal]:
    one = Terminal(state)
    yield one
    one.close()


def test_one_message_is_answered_on_standard_output_and_nothing_is_left_behind(
    state: Path,
) -> None:
    result = demo(state, "--say", "What is 6 times 7?")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "6 * 7 = 42\n"
    assert "Starting a homeserver…" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    assert_no_process(state, 2)


def test_the_next_start_goes_on_and_another_room_knows_nothing(state: Path) -> None:
    first = demo(state, "--say", "My name is Ada.")
    assert first.returncode == 0, first.stderr
    lines = ["What is my name?", "/new-room", "What is my name?", "/room 1", "What is my name?"]
    began = time.monotonic()
    result = demo(state, stdin="\n".join(lines) + "\n")
    assert time.monotonic() - began < 40
    assert result.returncode == 0, result.stderr
    assert "Opening the room Antiphon demo 1" not in result.stderr
    for shown in ("http://127.0.0.1:", "@you:antiphon.localhost", "offline"):
        assert shown in result.stdout
    before, _, after = result.stdout.partition("Now in Antiphon demo 2")
    other, _, back = after.partition("Now in Antiphon demo 1")
    assert "Ada" in before
    assert "Ada" not in other
    assert "Ada" in back
    assert_no_process(state, 2)


def test_ctrl_c_in_the_chat_leaves_no_process_behind(state: Path, terminal: Terminal) -> None:
    terminal.wait_for("you> ")
    terminal.type("What is 3 times 4?\n")
    assert "12" in terminal.wait_for("you> ", 30)
    second = demo(state, "--say", "Hello")
    assert second.returncode == 2
    assert "already runs" in second.stderr
    assert processes(state)
    terminal.type("\x03")
    assert terminal.process.wait(30) == 128 + signal.SIGINT
    assert_no_process(state, 2)


@pytest.mark.slow
def test_ctrl_c_while_it_starts_leaves_no_process_behind(state: Path, terminal: Terminal) -> None:
    terminal.wait_for("Starting a homeserver")
    terminal.type("\x03")
    assert terminal.process.wait(30) == 128 + signal.SIGINT
    assert_no_process(state, 2)


@pytest.mark.slow
def test_ctrl_d_ends_it_as_well(state: Path, terminal: Terminal) -> None:
    terminal.wait_for("you> ")
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0
    assert_no_process(state, 2)


def test_kill_9_leaves_no_process_behind(state: Path, terminal: Terminal) -> None:
    terminal.wait_for("you> ")
    terminal.process.kill()
    terminal.process.wait()
    assert_no_process(state, 20)


@pytest.mark.slow
def test_a_model_that_is_none_ends_it_with_a_sentence(state: Path) -> None:
    result = demo(state, "--model", "nonsense", "--say", "Hello")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "nonsense" in result.stderr.splitlines()[-1]
    assert_no_process(state, 2)
