"""What the agent and the adapter are started with."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from antiphon import settings
from antiphon.clock import SystemChance
from antiphon.errors import SettingsError, StateError
from antiphon.run import pair
from antiphon.settings import AgentSettings, Source


def link(
    state: Path, env: dict[str, str] | None = None, file: dict[str, object] | None = None
) -> pair.Link:
    source = Source(file or {}, None, env or {})
    agent = settings.section(source, "agent", AgentSettings)
    return pair.link(source, agent, state, SystemChance())


def test_the_token_is_random_private_and_kept(tmp_path: Path) -> None:
    first = link(tmp_path / "state")
    token = first.token_file.read_text()
    assert len(token.strip()) >= 22
    assert first.token_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert link(tmp_path / "state").token_file.read_text() == token
    assert link(tmp_path / "other").token_file.read_text() != token


def test_a_token_file_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "agent.token").write_text("kept\n")
    (tmp_path / "agent.token").chmod(0o644)
    assert link(tmp_path).token_file.stat().st_mode & 0o777 == 0o600


def test_a_token_from_the_settings_is_used(tmp_path: Path) -> None:
    by_token = link(tmp_path / "a", {"ANTIPHON_AGENT__TOKEN": "given"})
    assert by_token.token_file.read_text() == "given\n"
    by_table = link(tmp_path / "b", {"ANTIPHON_AGENT__TOKENS": '{"matrix": "mine"}'})
    assert by_table.token_file.read_text() == "mine\n"


def test_tokens_without_one_for_the_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="matrix"):
        link(tmp_path, {"ANTIPHON_AGENT__TOKENS": '{"terminal": "x"}'})


def test_an_agent_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="matrix run"):
        link(tmp_path, {"ANTIPHON_AGENT__URL": "ws://elsewhere/agent_ws/"})


def test_a_port_from_the_settings_is_kept_and_else_a_free_one_is_taken(tmp_path: Path) -> None:
    assert link(tmp_path, file={"agent": {"port": 8765}}).port == 8765
    free = link(tmp_path)
    assert free.port not in (0, 8765)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free.port))


def test_the_address_for_the_adapter_can_be_connected_to() -> None:
    assert pair.Link("0.0.0.0", 1, Path("t")).url == "ws://127.0.0.1:1/agent_ws/"
    assert pair.Link("::1", 1, Path("t")).url == "ws://[::1]:1/agent_ws/"


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        link(tmp_path, {"ANTIPHON_AGENT__HOST": "192.0.2.1"})


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="ANTIPHON_STATE_DIR"):
        link(tmp_path / "file" / "state")


def test_children_get_the_link_by_file_and_no_token_in_their_environment(tmp_path: Path) -> None:
    between = link(tmp_path)
    env = {"ANTIPHON_AGENT__TOKEN": "secret", "HOME": "/home/me"}
    config = tmp_path / "a.toml"
    for spec in (
        pair.agent_spec(config, env, between),
        pair.adapter_spec(config, env, between),
    ):
        assert "secret" not in str(spec)
        assert spec.env["ANTIPHON_AGENT__TOKEN_FILE"] == str(between.token_file)
        assert spec.env["HOME"] == "/home/me"
        assert str(config) in spec.argv
        assert "--die-with-parent" in spec.argv


def test_what_was_arranged_can_be_looked_up(tmp_path: Path) -> None:
    """For commands that look at a running pair."""
    assert pair.arranged(tmp_path) is None
    between = link(tmp_path)
    found = pair.arranged(tmp_path)
    assert found is not None
    assert (found.url, found.token.reveal()) == (
        between.url,
        between.token_file.read_text().strip(),
    )
    assert (tmp_path / "agent.url").stat().st_mode & 0o777 == 0o600
