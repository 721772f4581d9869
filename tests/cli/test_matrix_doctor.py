"""`antiphon matrix doctor` as people and scripts run it; nothing here can be reached."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.db import StateLock

COMMAND = (sys.executable, "-W", "error", "-m", "antiphon", "matrix", "doctor")


def environment(folder: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ANTIPHON_", "NO_COLOR"))}
    return clean | {
        "XDG_CONFIG_HOME": str(folder),
        "ANTIPHON_STATE_DIR": str(folder / "state"),
        "ANTIPHON_MATRIX__HOMESERVER": "http://127.0.0.1:9",
        "ANTIPHON_MATRIX__USER": "@bot:fake.localhost",
        "ANTIPHON_MATRIX__PASSWORD": "hush",
        "ANTIPHON_MATRIX__ALLOW": "*",
        **more,
    }


def doctor(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        cwd=folder,
        env=environment(folder, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_lines_for_people_and_exit_code_2_for_failures(tmp_path: Path) -> None:
    result = doctor(tmp_path)
    assert (result.returncode, result.stderr) == (2, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok       Settings")
    assert any(line.startswith("failure  Homeserver") for line in lines)
    assert lines[-1].startswith("1 failure, ")
    assert "\x1b" not in result.stdout
    assert "hush" not in result.stdout
    assert not (tmp_path / "state").exists()


def test_json_is_one_object(tmp_path: Path) -> None:
    result = doctor(tmp_path, "--json", "--no-model")
    assert (result.returncode, result.stderr) == (2, "")
    found = json.loads(result.stdout)
    assert set(found) == {"version", "worst", "findings"}
    assert found["worst"] == "failure"
    assert all(
        set(finding) == {"id", "level", "title", "detail", "todo"} for finding in found["findings"]
    )
    assert [f["id"] for f in found["findings"]][-1] == "agent"


@pytest.mark.parametrize(
    "toml", ["[matrix", "[matrix]\nnonsense = 1", "[matrix]\nport = 'x'", "log_level = 'loud'"]
)
def test_settings_that_can_not_be_read_are_a_finding_too(tmp_path: Path, toml: str) -> None:
    (tmp_path / "antiphon.toml").write_text(toml)
    result = doctor(tmp_path, "--json")
    assert (result.returncode, result.stderr) == (2, "")
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["id"], finding["level"]) == ("settings", "failure")
    assert "antiphon.toml" in finding["detail"]
    said = doctor(tmp_path).stdout
    assert said.startswith("failure  Settings")
    assert said.splitlines()[-1] == "1 failure, 0 ok."


def test_the_agent_of_a_running_pair_is_found(tmp_path: Path) -> None:
    """`antiphon run` arranges address and token by itself; the settings have neither."""
    state = tmp_path / "state"
    with StateLock.acquire(state, "run", what="A test"):
        for name, text in (("agent.url", "ws://127.0.0.1:9/agent_ws/"), ("agent.token", "hush-2")):
            (state / name).write_text(text)
        found = json.loads(doctor(tmp_path, "--json", "--no-model").stdout)["findings"][-1]
        assert (found["id"], found["level"]) == ("agent", "failure")
        assert "ws://127.0.0.1:9/agent_ws/" in found["detail"]
    found = json.loads(doctor(tmp_path, "--json", "--no-model").stdout)["findings"][-1]
    assert (found["level"], "antiphon run" in found["todo"]) == ("warning", True)


@pytest.mark.parametrize("plain", [False, True])
def test_colour_is_for_terminals_that_want_it(tmp_path: Path, plain: bool) -> None:
    ours, theirs = pty.openpty()
    env = environment(tmp_path, **({"NO_COLOR": "1"} if plain else {}))
    child = subprocess.Popen(COMMAND, cwd=tmp_path, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the other end is closed: Linux says it so
        pass
    os.close(ours)
    assert child.wait(timeout=30) == 2
    assert (b"\x1b[31mfailure\x1b[0m  Homeserver" in said) != plain
    assert (b"\x1b" in said) != plain
