"""The embedded homeserver's folder, without starting it."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import msgspec
import pytest

from antiphon.demo import synapse_config
from antiphon.demo.synapse_config import choose_port, is_free, prepare
from antiphon.errors import StateError


def settings(folder: Path) -> dict[str, object]:
    decoded: dict[str, object] = msgspec.json.decode((folder / "homeserver.yaml").read_bytes())
    return decoded


def test_secrets_and_key_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "homeserver"
    first = prepare(folder, "default", 1234)
    key = (folder / "signing.key").read_bytes()
    assert prepare(folder, "lifted", 1235) == first
    assert (folder / "signing.key").read_bytes() == key
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}


def test_it_reaches_no_other_machine(tmp_path: Path) -> None:
    prepare(tmp_path, "default", 1234)
    made = settings(tmp_path)
    assert made["public_baseurl"] == "http://127.0.0.1:1234/"
    assert [x["bind_addresses"] for x in made["listeners"]] == [["127.0.0.1"]]  # type: ignore[attr-defined]
    assert made["federation_domain_whitelist"] == made["trusted_key_servers"] == []
    assert not any(made[name] for name in ("report_stats", "url_preview_enabled", "enable_metrics"))


def test_limits_are_synapses_own_unless_lifted(tmp_path: Path) -> None:
    prepare(tmp_path, "default", 1234)
    assert "rc_message" not in settings(tmp_path)
    prepare(tmp_path, "lifted", 1234)
    assert "rc_message" in settings(tmp_path)


def test_the_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    port = choose_port(tmp_path)
    prepare(tmp_path, "default", port)
    assert choose_port(tmp_path) == port
    assert choose_port(tmp_path, unlike=port) != port
    with socket.socket() as other:
        other.bind((synapse_config.HOST, port))
        other.listen()
        assert not is_free(port)
        assert choose_port(tmp_path) != port


@pytest.mark.parametrize("damage", [b"x", b'"text"', b"-3", b"99999999"])
def test_a_damaged_port_file_costs_only_the_port(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "port.json").write_bytes(damage)
    assert 0 < choose_port(tmp_path) < 65536


def test_damaged_secrets_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_bytes(b"{")
    with pytest.raises(StateError, match="Delete"):
        prepare(tmp_path, "default", 1234)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match="Can't write"):
        prepare(blocked / "homeserver", "default", 1234)
