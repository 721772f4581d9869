"""`antiphon matrix verify` as a person types it, with an adapter that says what the test wants."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.verify_call import SOCKET

COMPARE = {"event": "compare", "emoji": [["🐶", "Dog"], ["🔑", "Key"]], "decimals": [1, 22, 333]}
DONE = {"event": "done", "device": "PHONE", "identity": True}


@contextmanager
def adapter(state: Path, *says: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Says these, the last one after a word where it has shown something; gives what it heard."""
    heard: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / SOCKET))
        listening.listen()
        listening.settimeout(30)

        def talk() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as lines:
                heard.append(json.loads(lines.readline()))
                for say in says:
                    lines.write(json.dumps(say).encode() + b"\n")
                    lines.flush()
                    if say["event"] == "compare":
                        heard.append(json.loads(lines.readline()))

        thread = threading.Thread(target=talk)
        thread.start()
        yield heard
        thread.join()


def verify(state: Path, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "antiphon", "matrix", "verify", *args],
        cwd=state,
        env={**clean, "ANTIPHON_STATE_DIR": str(state), "XDG_CONFIG_HOME": str(state)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("room", [None, "!room:x"])
def test_a_yes_is_the_word(tmp_path: Path, room: str | None) -> None:
    with adapter(tmp_path, {"event": "asked"}, COMPARE, DONE) as heard:
        result = verify(tmp_path, "@ada:x", *(["--room", room] if room else []), stdin="y\n")
    assert result.returncode == 0, result.stderr
    assert heard == [{"user": "@ada:x", "room": room}, {"same": True}]
    assert "🐶  Dog" in result.stdout
    assert "1 22 333" in result.stdout
    assert result.stdout.endswith("Verified: the bot trusts the identity of @ada:x.\n")


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_all_else_is_none(tmp_path: Path, typed: str) -> None:
    end = {
        "event": "cancelled",
        "code": "m.mismatched_sas",
        "reason": "They differ.",
        "by_us": True,
    }
    with adapter(tmp_path, {"event": "asked"}, COMPARE, end) as heard:
        result = verify(tmp_path, "@ada:x", stdin=typed)
    assert result.returncode == 1
    assert heard[1] == {"same": False}
    assert result.stderr == "Nothing was verified: They differ (m.mismatched_sas).\n"


def test_a_person_without_an_identity_is_said_so(tmp_path: Path) -> None:
    with adapter(tmp_path, {"event": "asked"}, COMPARE, DONE | {"identity": False}):
        result = verify(tmp_path, "@ada:x", stdin="y\n")
    assert result.returncode == 0
    assert "no cross-signing" in result.stdout


def test_what_can_not_be_asked_is_said(tmp_path: Path) -> None:
    with adapter(tmp_path, {"event": "failed", "reason": "They have no device."}):
        result = verify(tmp_path, "@ada:x")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Nothing was verified: They have no device.\n"


def test_an_adapter_that_ends_is_said(tmp_path: Path) -> None:
    with adapter(tmp_path, {"event": "asked"}):
        result = verify(tmp_path, "@ada:x")
    assert result.returncode == 2
    assert "has ended" in result.stderr


def test_without_an_adapter_nothing_is_asked(tmp_path: Path) -> None:
    result = verify(tmp_path, "@ada:x")
    assert result.returncode == 2
    assert result.stderr.startswith("antiphon: No adapter with encryption answers in ")
