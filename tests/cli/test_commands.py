"""The commands as people and scripts run them: real processes, their output and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon import settings
from antiphon.settings import AgentSettings, MatrixSettings, Secret


def antiphon(
    *args: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder of its own, with no settings from outside."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "antiphon", *args],
        cwd=cwd,
        env={**clean, "XDG_CONFIG_HOME": str(cwd), "XDG_DATA_HOME": str(cwd), **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence on standard error, nothing on standard output, exit code 2, no traceback."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("antiphon: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_without_arguments_it_shows_the_two_ways_to_begin(tmp_path: Path) -> None:
    result = antiphon(cwd=tmp_path)
    assert result.returncode == 0
    assert "antiphon demo" in result.stdout
    assert "antiphon init" in result.stdout


def test_version(tmp_path: Path) -> None:
    result = antiphon("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout.split()[0]) == (0, "antiphon")


def test_help_is_there_at_once(tmp_path: Path) -> None:
    """Help loads nothing heavy: whatever takes long is imported by the command that needs it."""
    code = (
        "import sys; from antiphon.cli.app import invoke; invoke(['--help']);"
        "heavy = {'aiohttp', 'sqlalchemy', 'msgspec', 'structlog', 'websockets'};"
        "print('LOADED', heavy & set(sys.modules))"
    )
    began = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED set()" in out.stdout
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("nonsense",), "nonsense"),
        (("--nonsense",), "--nonsense"),
        (("demo", "--say"), "--say"),
        (("demo", "--say", " "), "nothing to say"),
        (("matrix", "nonsense"), "nonsense"),
        (("--config", "absent.toml", "run"), "absent.toml"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    args: tuple[str, ...], word: str, tmp_path: Path
) -> None:
    assert_refused(antiphon(*args, cwd=tmp_path), word)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[matrix]\nhomeserve = 'x'\n", ("homeserve", "homeserver", "antiphon.toml")),
        ("nonsense = 1\n", ("nonsense", "state_dir")),
        ("[matrix]\nport = 'x'\n", ("[matrix] port", "int")),
        ("[matrix]\nport = 70000\n", ("[matrix] port", "65535")),
        ("log_level = 'loud'\n", ("log_level", "loud")),
        ("[matrix\n", ("TOML",)),
    ],
)
def test_a_wrong_settings_file_is_one_sentence_and_exit_code_2(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "antiphon.toml").write_text(text)
    assert_refused(antiphon("run", cwd=tmp_path), *words)


def test_an_error_in_another_part_of_the_file_does_not_stop_a_command(tmp_path: Path) -> None:
    """A process reads only its own section: the agent does not mind the adapter's."""
    (tmp_path / "antiphon.toml").write_text("[matrix]\nport = 'x'\n[agent]\nport = 'y'\n")
    result = antiphon("agent", "serve", cwd=tmp_path)
    assert_refused(result, "[agent] port")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_fault_is_logged_without_the_values_of_its_frames(
    log_format: str, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from antiphon import telemetry\n"
        "from antiphon.cli.app import antiphon, invoke\n"
        f"telemetry.configure('info', {log_format!r}, process='test')\n"
        "def fault():\n"
        "    hidden = ''.join(reversed('terces'))\n"
        "    raise ZeroDivisionError\n"
        "antiphon.commands['run'].callback = fault\n"
        "sys.exit(invoke(['run']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "secret" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("antiphon: ")


INIT = (
    "init", "--homeserver", "http://127.0.0.1:9", "--user", "@bot:example.org",
    "--password-stdin", "--allow", "@me:example.org",
)  # fmt: skip


def test_init_writes_a_private_file_that_reads_back(tmp_path: Path) -> None:
    result = antiphon(*INIT, "--no-check", cwd=tmp_path, stdin="pass word\n")
    assert result.returncode == 0, result.stderr
    assert "antiphon run" in result.stdout
    assert "pass word" not in result.stdout + result.stderr
    path = tmp_path / "antiphon.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    source = settings.read(path, {})
    matrix = settings.section(source, "matrix", MatrixSettings)
    assert matrix.password == Secret("pass word")
    assert matrix.allow == ("@me:example.org",)
    assert settings.section(source, "agent", AgentSettings) == AgentSettings()


def test_init_never_overwrites_without_force(tmp_path: Path) -> None:
    (tmp_path / "antiphon.toml").write_text("mine")
    assert_refused(antiphon(*INIT, "--no-check", cwd=tmp_path, stdin="pw\n"), "--force")
    assert (tmp_path / "antiphon.toml").read_text() == "mine"
    forced = antiphon(*INIT, "--no-check", "--force", cwd=tmp_path, stdin="pw\n")
    assert forced.returncode == 0


def test_init_writes_nothing_when_the_homeserver_is_not_there(tmp_path: Path) -> None:
    result = antiphon(*INIT, cwd=tmp_path, stdin="pw\n")
    assert_refused(result, "127.0.0.1:9", "--no-check")
    assert not (tmp_path / "antiphon.toml").exists()


def test_init_without_a_terminal_names_the_missing_flags(tmp_path: Path) -> None:
    assert_refused(antiphon("init", cwd=tmp_path), "--homeserver", "--allow")


def test_secrets_are_no_flags(tmp_path: Path) -> None:
    for flag in ("--password", "--access-token", "--api-key"):
        result = antiphon("init", flag, "secret", cwd=tmp_path)
        assert result.returncode == 2
        assert "secret" not in result.stderr


def test_init_writes_where_config_or_output_says(tmp_path: Path) -> None:
    by_config = antiphon("--config", "a.toml", *INIT, "--no-check", cwd=tmp_path, stdin="pw\n")
    assert by_config.returncode == 0, by_config.stderr
    assert "antiphon --config a.toml run" in by_config.stdout
    by_output = antiphon(*INIT, "--no-check", "--output", "b.toml", cwd=tmp_path, stdin="pw\n")
    assert by_output.returncode == 0
    assert {file.name for file in tmp_path.iterdir()} == {"a.toml", "b.toml"}
